"""How a run looks to people: one HTML page with its style and pictures inside, which loads nothing and runs nothing.

Pages are made of records alone; what they mean is decided elsewhere, and no model is ever loaded here.
"""

from noria.report.card import Card, card
from noria.report.data_docs import render_data_docs
from noria.report.document import Document
from noria.report.page import render_report

__all__ = ["Card", "Document", "card", "render_data_docs", "render_report"]
