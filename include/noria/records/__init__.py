"""What stages hand on: small, frozen JSON documents in the lake. Data never travels in them, only references.

A stage's record stands at `runs/<pipeline>/<run_id>/<stage>.json`, wrapped in a `StageRun` that says what it used.
"""

from noria.records.base import (
    STAGES,
    Metrics,
    Record,
    canonical,
    digest,
    policy_digest,
)
from noria.records.data import (
    Answer,
    ColumnProfile,
    ExpectationResult,
    Histogram,
    Profile,
    RawFile,
    Snapshot,
    ValidationReport,
)
from noria.records.judging import (
    NOBODY,
    Approval,
    ChampionVersion,
    Comparison,
    Decision,
    Interval,
    LedgerEntry,
    LedgerEvent,
    Rollback,
    Rule,
    SignedVerdict,
    SliceResult,
    Verdict,
)
from noria.records.run import (
    Failure,
    Report,
    Run,
    StageRun,
    Usage,
    stages_of,
)
from noria.records.training import (
    Candidate,
    Contender,
    CurvePoint,
    HoldoutRule,
    Spread,
)

__all__ = [
    "NOBODY",
    "STAGES",
    "Answer",
    "Approval",
    "Candidate",
    "ChampionVersion",
    "ColumnProfile",
    "Comparison",
    "Contender",
    "CurvePoint",
    "Decision",
    "ExpectationResult",
    "Failure",
    "Histogram",
    "HoldoutRule",
    "Interval",
    "LedgerEntry",
    "LedgerEvent",
    "Metrics",
    "Profile",
    "RawFile",
    "Record",
    "Report",
    "Rollback",
    "Rule",
    "Run",
    "SignedVerdict",
    "SliceResult",
    "Snapshot",
    "Spread",
    "StageRun",
    "Usage",
    "ValidationReport",
    "Verdict",
    "canonical",
    "digest",
    "policy_digest",
    "stages_of",
]
