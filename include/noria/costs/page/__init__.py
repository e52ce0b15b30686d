"""How a night's costs look: one HTML page that loads nothing and runs nothing, and the same figures as JSON.

The figures themselves belong to `noria.costs.summary`; style and helpers are those of `noria.report`.
"""

from noria.costs.page.render import key_lines, render_costs
from noria.costs.page.write import CostReport, report_path, write_report

__all__ = ["CostReport", "key_lines", "render_costs", "report_path", "write_report"]
