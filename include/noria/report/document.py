"""What a report tells: the records of one run, with those that are missing left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from noria.pipeline import ApprovalPolicy
from noria.records import (
    Candidate,
    ChampionVersion,
    Decision,
    ExpectationResult,
    Failure,
    LedgerEntry,
    Profile,
    Run,
    Snapshot,
    StageRun,
    ValidationReport,
    stages_of,
)
from noria.report.card import Card, State, card

_TONES: dict[State, str] = {
    "first": "promote",
    "promoted": "promote",
    "kept": "keep",
    "declined": "keep",
    "late": "keep",
    "rejected": "reject",
    "waiting": "waiting",
    "forced": "failed",
}


@dataclass(frozen=True)
class Document:
    """One run, as far as it got.

    Attributes:
        run: What was fixed before the first stage.
        written_at: When the report was made.
        stages: Stage -> envelope of its record, for the stages that ended well.
        failure: Why the run stopped.
        quarantine: First quarantined rows (row, column, value, reason).
        history: Versions in the registry, newest first.
        history_problem: Why the history could not be read.
        ledger: All decisions about the pipeline, oldest first.
        ledger_problem: Why it could not be read.
        ledger_findings: Entries of it that were changed or taken out, a sentence each.
        policy: Who has to agree to the candidate, as run and folder say now.
        data_docs: Link to the Data Docs, relative to the report.
        price: What the run has cost so far, by the price sheet.
        use: What it has cost and used, in one line of words.
    """

    run: Run
    written_at: datetime
    stages: dict[str, StageRun]
    failure: Failure | None = None
    snapshot: Snapshot | None = None
    quarantine: tuple[tuple[str, str, str, str], ...] = ()
    validation: ValidationReport | None = None
    data_docs: str | None = None
    profile: Profile | None = None
    candidate: Candidate | None = None
    decision: Decision | None = None
    history: tuple[ChampionVersion, ...] = ()
    history_problem: str | None = None
    ledger: tuple[LedgerEntry, ...] = ()
    ledger_problem: str | None = None
    ledger_findings: tuple[str, ...] = ()
    policy: ApprovalPolicy | None = None
    price: str | None = None
    use: str | None = None

    @cached_property
    def card(self) -> Card | None:
        """What the decision rests on; none before there is one."""
        if self.decision is None:
            return None
        return card(
            self.decision,
            self.candidate,
            self.run.pipeline,
            run_id=self.run.run_id,
            history=self.history,
            problems=self.problems,
            policy=self.policy,
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read or is not what was signed, a sentence each."""
        registry = (f"The registry could not be read: {self.history_problem}",) if self.history_problem else ()
        ledger = (f"The ledger could not be read: {self.ledger_problem}",) if self.ledger_problem else ()
        return (*registry, *ledger, *self.ledger_findings)

    @property
    def forced(self) -> tuple[tuple[str, str, bool], ...]:
        """Version, why and by whom, and whether it is the champion now: of all that were promoted by force."""
        known = tuple((v.version, v.forced, v.is_champion) for v in self.history if v.forced is not None)
        own = self.decision
        if own is None or own.forced is None or own.registered_version in {version for version, _, _ in known}:
            return known
        return ((own.registered_version or "of this run", own.forced, own.new_champion), *known)

    @property
    def tone(self) -> str:
        """The page's colour: promote, keep, reject, waiting, failed or unfinished."""
        if self.failure is not None:
            return "failed"
        if self.card is None:
            return "unfinished"
        return _TONES.get(self.card.state, self.card.verdict)

    @property
    def headline(self) -> str:
        """The verdict in two to four words."""
        if self.failure is not None:
            return f"Stopped at {self.failure.stage}"
        return self.card.headline if self.card else "No verdict yet"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in a few sentences."""
        if self.failure is not None:
            kept = "" if self.failure.stage in ("promote", "release") else " The champion is what it was."
            return (f"What was done before stands below.{kept}",)
        if self.card is None:
            missing = [s for s in stages_of(self.run.pipeline) if s not in self.stages and s != "report"]
            return (f"The run has no record of {', '.join(missing)} yet.",)
        return self.card.sentences

    def state(self, stage: str) -> str:
        """done, failed or missing."""
        if self.failure is not None and self.failure.stage == stage:
            return "failed"
        return "done" if stage in self.stages else "missing"

    @property
    def seconds(self) -> float:
        """Wall time of all stages so far."""
        return sum(stage.usage.wall_seconds for stage in self.stages.values())

    @property
    def checks(self) -> list[ExpectationResult]:
        """The expectations, failed ones first, critical before warnings."""
        results = self.validation.results if self.validation else ()
        return sorted(results, key=lambda r: (r.success, r.severity != "critical"))
