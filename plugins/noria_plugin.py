"""Registers what `noria.airflow` offers to Airflow: pages, tabs of a DAG run, the entry Costs, links on tasks."""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from noria.airflow.links import PREFIX, CostReportLink, DataDocsLink, ReportLink


async def late_app(scope: Any, receive: Any, send: Any) -> None:
    """The pages; loaded at the first request, because task processes load plugins too and need no web server."""
    from noria.airflow.web import app

    await app(scope, receive, send)


class NoriaPlugin(AirflowPlugin):
    """Reports in the Airflow UI, of runs and of what they cost."""

    name = "noria"
    fastapi_apps: ClassVar = [{"app": late_app, "url_prefix": PREFIX, "name": "Noria"}]
    external_views: ClassVar = [
        {
            "name": "Report",
            "href": f"{PREFIX.lstrip('/')}/dags/{{DAG_ID}}/runs/{{RUN_ID}}/report",
            "destination": "dag_run",
            "url_route": "noria-report",
        },
        {
            "name": "Data Docs",
            "href": f"{PREFIX.lstrip('/')}/dags/{{DAG_ID}}/runs/{{RUN_ID}}/data-docs",
            "destination": "dag_run",
            "url_route": "noria-data-docs",
        },
        {
            "name": "Costs",
            "href": f"{PREFIX.lstrip('/')}/costs",
            "destination": "nav",
            "url_route": "noria-costs",
        },
    ]
    operator_extra_links: ClassVar = [ReportLink(), DataDocsLink(), CostReportLink()]
