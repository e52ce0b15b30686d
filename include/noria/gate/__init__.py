"""The promotion gate: decide(challenger, champion, policy, holdout, circumstances) -> Decision. Pure: no I/O, no clock.

`evidence` says what it takes. Rules by subject: `trust`, `limits`, `quality`, `slices`, `rival`; `comparison` tells
luck from skill.
"""

from noria.gate.decide import decide
from noria.gate.evidence import Challenger, Champion, Circumstances, Holdout

__all__ = ["KINDS", "Challenger", "Champion", "Circumstances", "Holdout", "decide"]

KINDS = (
    "registry",  # written to around the adapter
    "clock",
    "policy",  # changed between training and promotion, or weaker than the one that stands in the pipeline's folder
    "predictions",  # of the wrong length or order, not finite
    "leakage",  # training or tuning has seen rows of the holdout
    "plausible",  # better on the holdout than cross-validation explains
    "rows",  # too few that neither has seen
    "validation",
    "freshness",
    "finite",
    "threshold",
    "dummy",
    "constant",  # the same answer for every row
    "calibration",
    "latency",
    "model_size",
    "training_cost",
    "slice",
    "champion",  # better than it by more than the margin, and by more than luck
)
"""What `Rule.kind` may be."""
