"""Synapse in Airflow: a hook, and an operator that submits a Spark batch and sleeps until it has ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from noria.airflow.connections import open_workspace, required_connection
from noria.airflow.remote import JobLink, RemoteJobOperator
from noria.azure import SYNAPSE, AzureConnection
from noria.compute.synapse import SynapseJobs
from noria.settings import Settings
from noria.workspace import safe_run_id

if TYPE_CHECKING:
    from airflow.sdk import Context


def jobs(connection: AzureConnection) -> SynapseJobs:
    """The batches of the pool that a connection names; what a trigger is told."""
    return SynapseJobs(connection)


class SynapseHook(BaseHook):
    """The batches of a Spark pool, by a connection of the azure provider's type `azure_synapse`.

    Its host, login, password and extra mean what they mean to the provider's own hook. Beside them the extra has
    `sparkPool`, `resourceGroup`, and the sizes of `noria.compute.synapse.Sizes` where the defaults do not fit.

    Args:
        azure_synapse_conn_id: The connection's id.
    """

    conn_name_attr = "azure_synapse_conn_id"
    default_conn_name = SYNAPSE
    conn_type = "azure_synapse"
    hook_name = "Azure Synapse (Noria)"

    def __init__(self, azure_synapse_conn_id: str = SYNAPSE) -> None:
        super().__init__()
        self.azure_synapse_conn_id = azure_synapse_conn_id

    def get_conn(self) -> SynapseJobs:
        """The pool's batches."""
        return jobs(required_connection(self.azure_synapse_conn_id))


class StudioLink(JobLink):
    """Button on a task: the batch in Synapse Studio."""

    name = "Synapse Studio"


class SynapseSparkBatchOperator(RemoteJobOperator):
    """Run a Python script as a Spark batch on Synapse.

    The task sleeps while the batch runs (it holds no worker), shows the driver's log line by line, ends the batch when
    it is ended itself or its `execution_timeout` is over, and fails with Livy's reason. A try after a lost worker finds
    the batch that runs and waits for that one; a task that was cleared submits a new one.

        with DAG("sales", schedule="@daily"):
            SynapseSparkBatchOperator(
                task_id="totals",
                script="/opt/airflow/spark_jobs/totals.py",
                arguments=["--day", "{{ ds }}", "--output", "abfss://lake@account.dfs.core.windows.net/totals"],
                execution_timeout=timedelta(hours=1),
                retries=2,
            )

    The script is self-contained, and is kept in the lake (NORIA_LAKE_URL), once for each content. The result is the
    batch's id.

    Args:
        script: Path of the Python file on the worker.
        arguments: Its arguments; addresses that Spark on Synapse can read.
        name: What the batch's name begins with; the default names DAG, task, run and map index. A hash of these, of the
            script and of its arguments follows, by which another try finds it.
        tags: Kept with the batch, beside DAG, task and run.
        configuration: Spark's, beside the pool's own.
        conn_id: A connection of the type `azure_synapse`; see SynapseHook.
    """

    ui_color = "#fbe9dd"
    platform = "noria.airflow.synapse.jobs"
    operator_extra_links = (StudioLink(),)
    template_fields: Sequence[str] = ("script", "arguments", "name", "tags", "configuration", "conn_id")
    template_fields_renderers = {"arguments": "json", "tags": "json", "configuration": "json"}  # noqa: RUF012  Airflow's

    def __init__(
        self,
        *,
        script: str | Path,
        arguments: Sequence[str] = (),
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        configuration: Mapping[str, str] | None = None,
        conn_id: str = SYNAPSE,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=conn_id, **kwargs)
        self.script = str(script)
        self.arguments = list(arguments)
        self.name = name
        self.tags = dict(tags or {})
        self.configuration = dict(configuration or {})

    def submit(self, jobs: SynapseJobs, context: Context) -> str:
        """Submit the batch, unless an earlier try has; its id."""
        ti = context["ti"]
        return jobs.submit(
            self._batch_name(context),
            Path(self.script),
            [str(argument) for argument in self.arguments],
            lake=open_workspace(Settings.from_env()).lake,
            tags={"airflow:dag": ti.dag_id, "airflow:task": ti.task_id, "airflow:run": ti.run_id, **self.tags},
            configuration=self.configuration,
        )

    def _batch_name(self, context: Context) -> str:
        """The same for all tries of a task; another one once it was cleared, which raises the number of its tries."""
        ti = context["ti"]
        parts = [ti.dag_id, ti.task_id, ti.run_id]
        parts += [str(ti.map_index)] if ti.map_index is not None and ti.map_index >= 0 else []
        cleared = ti.max_tries - (ti.task.retries or 0)
        suffix = [f"cleared-{cleared}"] if cleared > 0 else []
        facts = [parts, suffix, self.script, _content(self.script), [str(argument) for argument in self.arguments]]
        digest = hashlib.sha256(json.dumps([*facts, self.configuration], sort_keys=True).encode()).hexdigest()[:8]
        return f"{safe_run_id('-'.join([self.name] if self.name else parts))}-{'-'.join([*suffix, digest])}"


def _content(script: str) -> str:
    """What a script says, as a hash; one that cannot be read is refused when it is submitted."""
    try:
        return hashlib.sha256(Path(script).read_bytes()).hexdigest()
    except OSError:
        return ""
