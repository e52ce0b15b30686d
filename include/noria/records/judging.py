"""What the gate says, what it permits, and what the registry knows."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from noria.records.base import Metrics, Record
from noria.records.training import HoldoutRule

Verdict = Literal["promote", "keep", "reject"]


NOBODY = "nobody"
"""Who has declined where the time to answer ran out."""


class Rule(Record):
    """One rule of the gate with the numbers it was decided on."""

    name: str
    """For people, such as "r2 at least 0.8"."""
    kind: str
    """For programs: one of `noria.gate.KINDS`."""
    passed: bool
    required: bool
    """A required rule that fails decides; an advisory one is only told."""
    detail: str
    """A sentence with the numbers."""
    value: float | None = None
    """What was found, where it is a number."""
    limit: float | None = None
    """What it was held against."""
    needed: str | None = None
    """What would have had to be true, where the rule failed."""


class Interval(Record):
    """How much better the candidate is than the champion in one metric, on rows that both predicted."""

    metric: str
    candidate: float
    champion: float
    improvement: float
    """In the metric's unit; positive is better, whichever way the metric runs."""
    low: float
    high: float
    """Two-sided confidence interval of the improvement at `confidence`."""
    confidence: float
    """1 - 2 × the chance of error that this look may spend."""
    p_value: float
    """Of an improvement of at most the margin, one-sided."""
    method: str
    """How it was found, for people: paired bootstrap, exact test."""
    detectable: float | None = None
    """The smallest improvement that these rows would have shown in 80 of 100 cases."""


class SliceResult(Record):
    """Champion and candidate on the rows where a column has one value."""

    column: str
    value: str
    rows: int
    candidate: float
    champion: float | None = None
    improvement: float | None = None
    """In the primary metric; positive is better."""
    low: float | None = None
    high: float | None = None
    """Two-sided confidence interval of the improvement by the policy's alpha, as a first look may spend it. It is only
    shown: the improvement itself is held against the margin. None on a single row."""
    margin: float
    """How much worse it may be."""
    passed: bool
    judged: bool = True
    """Too few rows are shown and not judged."""


class Comparison(Record):
    """Champion and candidate on the same rows, none of which either has seen."""

    rows: int
    leaked_rows: int
    """Rows of the holdout that one of them has seen; they are left out."""
    alpha: float
    """Chance of promoting a model that is no better, over all looks at these rows."""
    alpha_spent: float
    """The part of it that this look may spend."""
    looks: int
    """The how many-th candidate this is that is judged against this champion on this holdout; 1 is the first. Of a run
    that holds out other rows than its pipeline, on any holdout."""
    draws: int
    """Of the bootstrap."""
    intervals: tuple[Interval, ...] = ()
    """One a metric of the pipeline, the primary one first."""
    rows_needed: int | None = None
    """Rows that would show the observed difference in 80 of 100 cases, where these do not."""


class Approval(Record):
    """What a person said of a candidate that waits."""

    pipeline: str
    run_id: str
    model_sha256: str
    previous_champion: str | None
    """The champion that the person saw it compared with."""
    approved: bool
    by: str
    reason: str
    at: datetime
    key_id: str = ""
    signature: str = ""


class Predicting(Record):
    """Rows that models predicted, and what that took."""

    rows: int
    cpu_seconds: float
    """Processor time of the process and its threads while the models answered; loading a model, reading rows and
    scoring are no part of it."""


class Decision(Record):
    """What the gate said, and what the registry holds after it."""

    verdict: Verdict
    rules: tuple[Rule, ...]
    reasons: tuple[str, ...]
    """The rules that decided, in words."""
    candidate_metrics: Metrics
    """On the holdout."""
    champion_metrics: Metrics | None = None
    """Of the champion on the rows of the candidate's holdout that neither has seen; none if it was not compared."""
    compared_rows: int | None = None
    """How many these rows are, where one of them has seen others of the holdout; none means all of them."""
    compared_metrics: Metrics | None = None
    """Of the candidate on these rows, where they are not all."""
    comparison: Comparison | None = None
    slices: tuple[SliceResult, ...] = ()
    policy_sha256: str = ""
    previous_champion: str | None = None
    registered_version: str | None = None
    """What the registry made of the candidate; none if it was not registered."""
    champion_version: str | None = None
    """The champion after this decision."""
    verdict_id: str | None = None
    """Of the signed verdict that let it into the registry."""
    dry_run: bool = False
    waiting: bool = False
    """The verdict says promote, and a person has to approve."""
    approval: Approval | None = None
    forced: str | None = None
    """Why a person promoted it against the verdict, and who."""
    predicting: Predicting | None = None
    """Of the holdout, by candidate and champion, each all rows at once; none in records from before it was measured."""

    @property
    def new_champion(self) -> bool:
        """Whether the candidate is the champion now; a late retry finds a newer one in its place."""
        registered = self.registered_version in (None, self.champion_version)
        carried_out = self.verdict == "promote" or self.forced is not None
        return carried_out and not self.dry_run and not self.waiting and registered


class SignedVerdict(Record):
    """Leave to make exactly these bytes the champion of one pipeline, once. A registry does nothing without it.

    The signature covers every other field.
    """

    id: str
    """Hex; no two verdicts have the same one."""
    action: Literal["promote", "force", "rollback"]
    pipeline: str
    run_id: str
    """Of the run that trained the model."""
    model_sha256: str
    holdout_sha256: str
    policy_sha256: str
    snapshot_id: str
    code: str
    sequence: int
    """The how many-th champion of its pipeline it makes of the model; 1 is the first. A number is taken only once."""
    previous_champion: str | None
    """Version of the champion that it was judged against."""
    version: str | None = None
    """The version that a rollback goes to."""
    by: str
    """`gate`, or the person."""
    reason: str
    issued_at: datetime
    entry_only: bool = False
    """Whether it only lets the model in, to wait for a person: nothing becomes the champion by it."""
    training_rows_sha256: str = ""
    """Of the file that names the rows that tuning and training have seen; empty in verdicts from before it was kept."""
    holdout_rule_sha256: str = ""
    """Digest of the rule by which the model's holdout was drawn; empty in verdicts from before it was kept."""
    key_id: str = ""
    signature: str = ""


class ChampionVersion(Record):
    """A version in the registry, as the report's history shows it."""

    version: str
    is_champion: bool
    is_challenger: bool = False
    """Registered last, and not the champion yet or any more."""
    created_at: datetime
    run_id: str
    snapshot_id: str
    estimator: str
    metrics: Metrics
    model_sha256: str
    previous_champion: str | None = None
    """The champion before it."""
    holdout: HoldoutRule | None = None
    """Which rows it has never seen; none if its version does not say."""
    training_rows: str | None = None
    """Lake path of the hashes of the rows that it has seen; none if its version does not say."""
    sequence: int | None = None
    """The how many-th champion it was, the last time; none if it never was."""
    verdict: SignedVerdict | None = None
    """What let it in."""
    crown: SignedVerdict | None = None
    """What made it the champion, the last time."""
    forced: str | None = None
    """Who promoted it against the gate's verdict, and why."""


LedgerEvent = Literal[
    "promoted", "kept", "rejected", "dry_run", "staged", "approved", "declined", "forced", "rolled_back"
]


class LedgerEntry(Record):
    """One line of a pipeline's history. Nothing of it is changed or removed later."""

    pipeline: str
    at: datetime
    event: LedgerEvent
    run_id: str
    model_sha256: str
    holdout_sha256: str
    policy_sha256: str
    version: str | None
    """In the registry, if it is there."""
    champion_before: str | None
    champion_after: str | None
    by: str
    reasons: tuple[str, ...]
    verdict_id: str | None = None
    previous: str = ""
    """Digest of the pipeline's entry before it: none can be taken out without a trace."""
    key_id: str = ""
    signature: str = ""


class Rollback(Record):
    """A former champion that a person brought back."""

    pipeline: str
    version: str
    """The champion now."""
    before: str
    """The champion until then."""
    by: str
    reason: str
    at: datetime
    verdict_id: str
    run_id: str
    """Of the run whose snapshot it was scored on."""
    metrics: Metrics
    """Of the version on that snapshot's holdout."""
    champion_version: str
    """The champion when this was written; a late retry finds a newer one in its place."""
