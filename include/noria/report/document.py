"""What a report tells: the records of one run, with those that are missing left out, and the words for its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from noria.records import (
    STAGES,
    Candidate,
    ChampionVersion,
    Decision,
    ExpectationResult,
    Failure,
    Profile,
    Run,
    Snapshot,
    StageRun,
    ValidationReport,
)

_OUTCOMES = {"promote": "Promoted", "keep": "Champion kept", "reject": "Rejected"}


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
        data_docs: Link to the Data Docs, relative to the report.
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

    @property
    def outcome(self) -> str:
        """promote, keep, reject, failed or unfinished; the page's colour follows it."""
        if self.failure is not None:
            return "failed"
        return self.decision.verdict if self.decision else "unfinished"

    @property
    def headline(self) -> str:
        """The verdict in two or three words."""
        if self.failure is not None:
            return f"Stopped at {self.failure.stage}"
        if self.decision is None:
            return "No verdict yet"
        word = _OUTCOMES[self.decision.verdict]
        return f"{word} (dry run)" if self.decision.dry_run else word

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        decision = self.decision
        if self.failure is not None:
            kept = "" if self.failure.stage == "promote" else " The champion is what it was."
            return f"What was done before stands below.{kept}"
        if decision is None:
            missing = [s for s in STAGES if s not in self.stages and s != "report"]
            return f"The run has no record of {', '.join(missing)} yet."
        champion = f"version {decision.champion_version}" if decision.champion_version else "no champion"
        if decision.dry_run:
            return f"A dry run leaves the registry as it is: {champion}."
        if decision.verdict == "promote":
            late = f"Version {decision.registered_version} is registered, but came too late: {champion} stays in use."
            return f"{champion.capitalize()} is the new champion." if decision.new_champion else late
        if decision.verdict == "keep":
            return f"The candidate is not better; {champion} stays in use."
        stays = f"{champion} stays in use" if decision.champion_version else "there is still no champion"
        return f"A required rule failed; {stays}."

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
