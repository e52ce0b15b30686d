"""One candidate before the gate: what every step from judging to crowning needs, read once."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noria.errors import InputError
from noria.lake import scratch
from noria.ledger import Ledger
from noria.models.answers import ask
from noria.models.examples import Drawn, draw
from noria.models.metrics import Predictions
from noria.pipeline import ApprovalPolicy, Gate, Pipeline, find_pipelines, load_pipeline
from noria.records import Candidate, ChampionVersion, Predicting, Run, Snapshot
from noria.registry import Registry
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Case:
    """A candidate, while nobody else promotes for its pipeline.

    Attributes:
        run: Its run.
        workspace: The world.
        candidate: What training says of it.
        folder: Scratch on local disk.
        still_held: Raises where the pipeline's lock cannot be shown to be held still.
        asked: What each of the models took that were asked for the holdout.
    """

    run: Run
    workspace: Workspace
    candidate: Candidate
    folder: Path
    still_held: Callable[[], None]
    asked: list[Predicting] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The pipeline's."""
        return self.run.pipeline.name

    @property
    def production(self) -> Registry:
        """Where the champion is."""
        return self.workspace.registry

    @property
    def staging(self) -> Registry:
        """Where candidates wait; production itself where there is no other."""
        return self.workspace.staging

    @property
    def one_registry(self) -> bool:
        """Whether candidates wait where the champion is."""
        return self.staging is self.production

    @cached_property
    def ledger(self) -> Ledger:
        """The pipeline's history."""
        return self.workspace.ledger(self.name)

    @cached_property
    def snapshot(self) -> Snapshot:
        """Where the rows come from."""
        return self.workspace.require(self.run, "ingest", Snapshot)

    @cached_property
    def drawn(self) -> Drawn:
        """The snapshot's rows, split anew."""
        with self.workspace.lake.local(self.snapshot.table) as table:
            return draw(table, self.run.pipeline)

    @cached_property
    def pipeline_now(self) -> Pipeline | None:
        """The pipeline as it stands in its folder; none if the folder is gone.

        Raises:
            SpecError: The folder's pipeline.yaml is wrong: what it asks for cannot be known.
        """
        folders = self.workspace.settings.pipelines
        return load_pipeline(self.name, folders) if self.name in find_pipelines(folders) else None

    @property
    def policy_now(self) -> Gate | None:
        """Its policy."""
        return self.pipeline_now.gate if self.pipeline_now else None

    @property
    def approval(self) -> ApprovalPolicy | None:
        """Whether a person has to agree: who may, and how long: as the run's policy and the folder's both say."""
        return self.workspace.approval_policy(self.run)

    @cached_property
    def model_file(self) -> Path:
        """A local copy of the candidate's model as it lies in the lake now; its bytes are not checked yet.

        Raises:
            InputError: It is gone.
        """
        file = self.folder / "candidate.skops"
        try:
            with self.workspace.lake.local(self.candidate.model) as stored:
                shutil.copyfile(stored, file)
        except FileNotFoundError:
            gone = f"the candidate's model file {self.candidate.model} is gone"
            raise InputError(gone, remedy="Start a new run.") from None
        return file

    def answers(self, model: Any, features: pd.DataFrame) -> Predictions:
        """What a model says of the n rows of the holdout.

        Raises:
            InputError: The model fails, or does not give one answer a row.
        """
        begun = time.process_time()
        said = ask(self.drawn.split.problem, model, features)
        self.asked.append(Predicting(rows=len(features), cpu_seconds=time.process_time() - begun))
        return said

    @property
    def predicting(self) -> Predicting:
        """All that was asked so far."""
        return Predicting(
            rows=sum(one.rows for one in self.asked),
            cpu_seconds=round(sum(one.cpu_seconds for one in self.asked), 6),
        )

    def own(self, registry: Registry) -> ChampionVersion | None:
        """The version that an earlier attempt has made of this candidate, if there is one."""
        return self.own_among(registry.history(self.name))

    def own_among(self, versions: Iterable[ChampionVersion]) -> ChampionVersion | None:
        """The same, where the registry was just asked for its versions."""
        mine = (self.run.run_id, self.candidate.model_sha256)
        return next((v for v in versions if (v.run_id, v.model_sha256) == mine and v.verdict), None)


@contextlib.contextmanager
def opened(run: Run, workspace: Workspace) -> Iterator[Case]:
    """The case of a run's candidate, alone with the pipeline's registry.

    Raises:
        BusyError: Another promotion of this pipeline does not end.
        StorageError: The run has no candidate.
    """
    candidate = workspace.require(run, "train", Candidate)
    with alone(run.pipeline.name, workspace) as (folder, still_held):
        yield Case(run, workspace, candidate, folder, still_held)


@contextlib.contextmanager
def alone(name: str, workspace: Workspace) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A scratch folder and the lock of a pipeline, under which its champion is changed and nowhere else."""
    lock, folder = workspace.lake.lock(f"promote-{name}"), scratch(workspace.settings.home / "tmp")
    with lock as still_held, folder as local:
        yield local, still_held
