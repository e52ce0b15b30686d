"""Azure Cost Management: the export that brings the invoice, questions where there is none, budgets kept in line.

What a delivery becomes in the table belongs to `noria.costs.invoices`; how the service is asked to `noria.azure`.
"""

from noria.costs.cost_management.budgets import sync_budgets
from noria.costs.cost_management.export import NoFocusError
from noria.costs.cost_management.missing import Requested, request_missing
from noria.costs.cost_management.query import ingest_queried, query_days

__all__ = ["NoFocusError", "Requested", "ingest_queried", "query_days", "request_missing", "sync_budgets"]
