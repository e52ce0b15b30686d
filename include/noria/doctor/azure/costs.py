"""Cost Management: the scope is there, this identity may make exports and budgets of it, and the export runs."""

from __future__ import annotations

from noria.azure import AzureConnection
from noria.azure.cost_client import CostClient
from noria.azure.errors import Service, refused
from noria.doctor.azure.arm import Resources
from noria.doctor.finding import Verdict

ACTIONS = tuple(f"Microsoft.CostManagement/{what}" for what in ("exports/write", "exports/run/action", "budgets/write"))


def costs_resource(connection: AzureConnection) -> str:
    """The scope as an error names it."""
    return f"Cost Management of {connection.get('scope')}"


def check_costs(connection: AzureConnection) -> Verdict:
    """Ask for the export and its newest run; nothing is made or run."""
    client = CostClient(connection, patience_seconds=0.0)
    lacking = Resources(connection, client.resource, Service.COSTS).may_not_at(f"/{client.scope}", *ACTIONS)
    if lacking:
        said = f"not permitted: {', '.join(lacking)}"
        raise refused(client.resource, Service.COSTS, code="AuthorizationFailed", message=said)
    export = f"export {client.export_name} of {client.resource}"
    if client.export() is None:
        client.budgets()  # or else it is the scope that is not there
        return "ok", f"{export} is made by the first night of the DAG export_costs", ""
    newest = next(iter(client.runs()), None)
    if newest is None:
        return "ok", f"{export} is there; it has not run yet", ""
    facts = newest["properties"]
    said = f"{export}: the run of {str(facts.get('submittedTime'))[:16]} is {facts.get('status')}"
    if str(facts.get("status")) in ("Failed", "Timeout"):
        reason = (facts.get("error") or {}).get("message") or "no reason told"
        return "warn", f"{said} ({reason})", "See its page: Azure portal, Cost Management, Exports."
    return "ok", said, ""
