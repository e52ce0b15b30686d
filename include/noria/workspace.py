"""What a stage may touch: the lake, the registry, where jobs run, the clock and credentials.

Built once from the settings, at the edge.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeVar

from noria.azure import LAKE, ML, PRODUCTION, SYNAPSE, AzureConnection
from noria.errors import InputError, StorageError
from noria.lake import Lake, open_lake
from noria.ledger import Ledger
from noria.pipeline import ApprovalPolicy, Budget, Pipeline, approval_of, budget_of, find_pipelines, load_pipeline
from noria.records import BEFORE_STAGES, Approval, Decision, Failure, JobUsage, Record, Run, StageRun, stages_of
from noria.settings import CHECKOUT, Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring

if TYPE_CHECKING:
    from noria.compute.remote import JobUse
    from noria.compute.spark import SparkRunner
    from noria.registry import Registry

R = TypeVar("R", bound=Record)
APPROVAL, FORCED, AGAIN = "approval.json", "forced.json", "judged_again.json"
"""Files of a run: what a person said of its candidate, the decision after a person promoted it by force, and the newest
one after a person had it judged again (`Again`)."""
_RUN_ID_LENGTH = 180


def _now() -> datetime:
    return datetime.now(UTC)


class Again(Record):
    """A decision that was reached after the run's own: the candidate was judged again, or answered for after that."""

    at: datetime
    decision: Decision


@dataclass(frozen=True)
class Workspace:
    """The world as a stage sees it.

    Attributes:
        settings: Where things live.
        lake: Where bytes live.
        credentials: Airflow connection id -> token or password, or a whole connection to Azure as JSON; never logged,
            never stored.
        clock: The present time, in UTC.
        spark_runner: Where Spark jobs run, if not on this machine.
        elsewhere: What jobs on other machines have used for the stage; whoever meters the stage reads it.
    """

    settings: Settings
    lake: Lake
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    clock: Callable[[], datetime] = _now
    spark_runner: SparkRunner | None = None
    elsewhere: list[JobUsage] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def open(cls, settings: Settings, credentials: Mapping[str, str] | None = None) -> Workspace:
        """The workspace of these settings."""
        handed = credentials or {}
        connection = _connection(LAKE, settings, handed)
        return cls(settings, open_lake(settings.lake_url, connection, settings.home / "tmp"), handed)

    @cached_property
    def keyring(self) -> Keyring:
        """What verdicts are signed with.

        Raises:
            InputError: The profile azure without a connection `noria_verdicts`.
        """
        if password := self.credential(VERDICTS):
            return Keyring.parse(password)
        if self.settings.profile == "azure":
            raise InputError(
                f"no connection {VERDICTS}",
                expected="an Airflow connection of that id, whose password signs verdicts",
                remedy="See docs/azure.md.",
            )
        return Keyring.at(self.settings.home / "keys" / "verdicts.key")

    @cached_property
    def registry(self) -> Registry:
        """Production: which model is the champion, and why; opened at first use because its client is slow to import.

        Raises:
            InputError: The profile azure without a connection to Azure ML.
        """
        from noria.registry import open_azureml_registry, open_registry

        settings = self.settings
        if url := settings.production_url or settings.registry_url:
            return open_registry(url, settings.home, self.keyring)
        return open_azureml_registry(self.connection(PRODUCTION) or self._required(ML), self.keyring)

    @cached_property
    def staging(self) -> Registry:
        """Where a candidate waits as the challenger; production itself where nothing else is set."""
        from noria.registry import open_azureml_registry, open_registry

        settings = self.settings
        if settings.production_url:
            return open_registry(settings.registry_url, settings.home, self.keyring, staging=True)
        if settings.registry_url or self.connection(PRODUCTION) is None:
            return self.registry
        return open_azureml_registry(self._required(ML), self.keyring, staging=True)

    def ledger(self, pipeline: str) -> Ledger:
        """The history of a pipeline's promotions."""
        return Ledger(self.lake, pipeline, self.keyring, self.settings.home / "tmp")

    def spark(self, run: Run, stage: str) -> SparkRunner:
        """Where the Spark job of a stage runs.

        Raises:
            InputError: The profile azure without a connection to Synapse.
        """
        if self.spark_runner is not None:
            return self.spark_runner
        if self.settings.profile == "azure":
            from noria.compute.synapse import SynapseJobs, SynapseSpark

            jobs = SynapseJobs(self._required(SYNAPSE))

            def account(use: JobUse, succeeded: bool) -> None:
                self.elsewhere.append(use.of(run, stage, "done" if succeeded else "failed"))

            return SynapseSpark(jobs, self.lake, job_name(run, stage), job_tags(run, stage), account)
        from noria.compute.spark import LocalSpark

        return LocalSpark(self.settings)

    def connection(self, conn_id: str) -> AzureConnection | None:
        """A connection to Azure: handed in by the task, else from its environment variable, else none."""
        return _connection(conn_id, self.settings, self.credentials)

    def _required(self, conn_id: str) -> AzureConnection:
        if connection := self.connection(conn_id):
            return connection
        raise InputError(
            f"no connection {conn_id}", expected="an Airflow connection of that id", remedy="See docs/azure.md."
        )

    def credential(self, conn_id: str | None) -> str | None:
        """Token of an Airflow connection: handed in by the task, else from its environment variable."""
        if conn_id is None:
            return None
        return self.credentials.get(conn_id) or self.settings.connection_password(conn_id)

    # Runs and their records

    def create_run(
        self,
        name: str,
        run_id: str | None = None,
        *,
        overrides: Mapping[str, str] | None = None,
        source: str | None = None,
        ui_url: str | None = None,
    ) -> Run:
        """Freeze a run: its spec with the overrides applied, and the code. A run that exists is returned as it is.

        Raises:
            SpecError: The pipeline does not exist or is wrong.
        """
        run_id = run_id or f"{self.clock():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        path = run_path(name, run_id, "run")
        if not self.lake.exists(path):
            pipeline = load_pipeline(name, self.settings.pipelines, overrides, source)
            run = Run(run_id=run_id, pipeline=pipeline, code=code_hash(), created_at=self.clock(), ui_url=ui_url)
            self.lake.create(path, to_json(run))
        return self.load_run(name, run_id)

    def load_run(self, name: str, run_id: str) -> Run:
        """A run that was created. Raises StorageError if there is none."""
        path = run_path(name, run_id, "run")
        try:
            return Run.model_validate_json(self.lake.read(path))
        except FileNotFoundError:
            raise StorageError(f"no run {run_id!r} of pipeline {name!r} in {self.lake.root}") from None

    def stage_run(self, run: Run, stage: str) -> StageRun | None:
        """Envelope of a stage's record, or none if that stage has not ended well."""
        try:
            return StageRun.model_validate_json(self.lake.read(run_path(run.pipeline.name, run.run_id, stage)))
        except FileNotFoundError:
            return None

    def find(self, run: Run, stage: str, kind: type[R]) -> R | None:
        """Record of an earlier stage of this run, or none."""
        envelope = self.stage_run(run, stage)
        return kind.model_validate(envelope.record) if envelope else None

    def require(self, run: Run, stage: str, kind: type[R]) -> R:
        """Record of an earlier stage of this run. Raises StorageError if that stage has not ended well."""
        record = self.find(run, stage, kind)
        if record is None:
            raise StorageError(
                f"run {run.run_id} of {run.pipeline.name} has no record of stage {stage!r}",
                remedy=f"Run {stage!r} first.",
            )
        return record

    def decision(self, run: Run) -> Decision | None:
        """The last word on this run's candidate: by force, else the newer one of `release` and of what came after."""
        with contextlib.suppress(FileNotFoundError):
            return Decision.model_validate_json(self.lake.read(run_path(run.pipeline.name, run.run_id, FORCED)))
        released, again = self.stage_run(run, "release"), self._again(run)
        if released is not None and (again is None or again.at <= released.finished_at):
            return Decision.model_validate(released.record)
        return self.asked(run)

    def asked(self, run: Run) -> Decision | None:
        """What a person is asked about: the candidate as it was judged last, or as `promote` has left it."""
        again = self._again(run)
        return again.decision if again else self.find(run, "promote", Decision)

    def asked_at(self, run: Run) -> datetime | None:
        """When that was; the time to answer begins then."""
        if again := self._again(run):
            return again.at
        promoted = self.stage_run(run, "promote")
        return promoted.finished_at if promoted else None

    def keep_again(self, run: Run, decision: Decision) -> None:
        """Put a later decision beside the run's own, which is not rewritten."""
        again = Again(at=self.clock(), decision=decision)
        self.lake.replace(run_path(run.pipeline.name, run.run_id, AGAIN), to_json(again))

    def _again(self, run: Run) -> Again | None:
        with contextlib.suppress(FileNotFoundError):
            return Again.model_validate_json(self.lake.read(run_path(run.pipeline.name, run.run_id, AGAIN)))
        return None

    def approval_policy(self, run: Run) -> ApprovalPolicy | None:
        """Whether a person has to agree, who may, and how long there is: as the run's policy and the folder's both say.

        Raises:
            SpecError: The folder's pipeline.yaml is wrong: what it asks for cannot be known.
        """
        now = self._in_folder(run)
        return approval_of(run.pipeline.gate.approval, now.gate.approval if now else None)

    def budget(self, run: Run) -> Budget:
        """What this run may cost: as the run's budget and the folder's both say.

        Raises:
            SpecError: The folder's pipeline.yaml is wrong: what it allows cannot be known.
        """
        now = self._in_folder(run)
        return budget_of(run.pipeline.budget, now.budget) if now else run.pipeline.budget

    def _in_folder(self, run: Run) -> Pipeline | None:
        """The pipeline as its folder has it now, if there is one."""
        name, folders = run.pipeline.name, self.settings.pipelines
        return load_pipeline(name, folders) if name in find_pipelines(folders) else None

    def approval(self, run: Run) -> Approval | None:
        """What a person said of this run's candidate, or none.

        Raises:
            VerdictError: It was changed after it was signed.
        """
        try:
            said = self.lake.read(run_path(run.pipeline.name, run.run_id, APPROVAL))
        except FileNotFoundError:
            return None
        approval = Approval.model_validate_json(said)
        self.keyring.check(approval)
        return approval

    def failure(self, run: Run) -> Failure | None:
        """Why the run stopped: the failure of the first stage that failed and was not retried well."""
        for stage in (BEFORE_STAGES, *stages_of(run.pipeline)):
            # A job that is killed between its record and its answer has both; the record counts.
            if stage != BEFORE_STAGES and self.lake.exists(run_path(run.pipeline.name, run.run_id, stage)):
                continue
            with contextlib.suppress(FileNotFoundError):
                failed = run_path(run.pipeline.name, run.run_id, f"{stage}.failed.json")
                return Failure.model_validate_json(self.lake.read(failed))
        return None


def _connection(conn_id: str, settings: Settings, credentials: Mapping[str, str]) -> AzureConnection | None:
    text = credentials.get(conn_id) or settings.connection_text(conn_id)
    return AzureConnection.parse(conn_id, text) if text else None


def run_path(pipeline: str, run_id: str, name: str) -> str:
    """Lake path of something of a run: a record by its stage's name, a folder by "", any other file by its name."""
    base = f"runs/{pipeline}/{run_id}"
    if not name:
        return base
    return f"{base}/{name}" if "." in name or "/" in name else f"{base}/{name}.json"


def safe_run_id(run_id: str) -> str:
    """An Airflow run id as a path component; no two ids have the same one.

    A plain id stays as it is. In any other, `:` and other awkward characters become `-`, and a hash of the id follows,
    so that `a:b` is not taken for `a-b`; an id that ends like one of those is given a hash of its own.
    """
    safe = re.sub(r"^\.|[^A-Za-z0-9_.+-]", "-", run_id)[:_RUN_ID_LENGTH]
    if safe == run_id and not re.search(r"-[0-9a-f]{8}$", safe):
        return safe
    return f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def job_name(run: Run, stage: str) -> str:
    """What a stage's job elsewhere is called; it follows from the run, so a retry finds it."""
    return f"{run.pipeline.name}-{run.run_id}-{stage}"


def job_tags(run: Run, stage: str) -> dict[str, str]:
    """What everything that a run makes on Azure is tagged with."""
    return {"noria:pipeline": run.pipeline.name, "noria:run": run.run_id, "noria:stage": stage}


def to_json(record: Record) -> bytes:
    """A record as it stands in the lake: indented JSON with a final newline."""
    return record.model_dump_json(indent=2).encode() + b"\n"


@cache
def code_hash() -> str:
    """SHA-256 (16 hex digits) over the library's and the Spark jobs' sources, as this process found them first."""
    digest = hashlib.sha256()
    for folder in (CHECKOUT / "include" / "noria", CHECKOUT / "spark_jobs"):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(CHECKOUT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
