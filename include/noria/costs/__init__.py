"""What runs cost: metering and prices, invoices, one table of both, budgets, and the cost report.

How a job is metered belongs to `noria.compute`; sending mails belongs to `noria.alerts`.
"""
