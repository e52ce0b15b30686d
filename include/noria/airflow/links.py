"""Addresses in the Airflow UI: a run, its report, its Data Docs, the cost report."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from noria.settings import Settings

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/noria"
"""Where the API server mounts `noria.airflow.web`."""


def run_url(dag_id: str, run_id: str) -> str:
    """Address of a run in the Airflow UI."""
    return f"{_base_url()}/{_run_path(dag_id, run_id)}"


def report_url(dag_id: str, run_id: str) -> str:
    """Address of a run's report, for those who may read the DAG."""
    return f"{_base_url()}{PREFIX}/{_run_path(dag_id, run_id)}/report"


def data_docs_url(dag_id: str, run_id: str) -> str:
    """Address of a run's Data Docs, for those who may read the DAG."""
    return f"{_base_url()}{PREFIX}/{_run_path(dag_id, run_id)}/data-docs"


def costs_url() -> str:
    """Address of the newest cost report, for those who may read the DAG that makes it."""
    return f"{_base_url()}{PREFIX}/costs"


def task_url(dag_id: str, run_id: str, task_id: str) -> str:
    """Address of a task of a run; the UI opens its log."""
    return f"{_base_url()}/{_run_path(dag_id, run_id)}/tasks/{quote(task_id, safe='')}"


def approval_url(dag_id: str, run_id: str, task_id: str) -> str:
    """Address of the form where a person answers a task's question, for those who may act on the DAG."""
    return f"{task_url(dag_id, run_id, task_id)}/required_actions"


class ReportLink(BaseOperatorLink):
    """Button on a task: the run's report."""

    name = "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the report."""
        return report_url(ti_key.dag_id, ti_key.run_id)


class DataDocsLink(BaseOperatorLink):
    """Button on a task: what Great Expectations saw in this run."""

    name = "Data Docs"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the Data Docs."""
        return data_docs_url(ti_key.dag_id, ti_key.run_id)


class CostReportLink(BaseOperatorLink):
    """Button on a task of the cost export: the newest cost report."""

    name = "Cost report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Address of the page."""
        return costs_url()


def _run_path(dag_id: str, run_id: str) -> str:
    return f"dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"


def _base_url() -> str:
    return Settings.from_env().ui_url or conf.get("api", "base_url", fallback="http://127.0.0.1:8080").rstrip("/")
