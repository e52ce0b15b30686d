"""From evidence to a decision."""

from __future__ import annotations

from noria.gate.evidence import Challenger, Champion, Circumstances, Holdout
from noria.pipeline import Gate
from noria.records import Decision


def decide(
    challenger: Challenger, champion: Champion | None, policy: Gate, holdout: Holdout, circumstances: Circumstances
) -> Decision:
    """Judge a candidate.

    Args:
        challenger: The candidate with its predictions of the holdout.
        champion: With its predictions of the same rows; none if there is no champion yet.
        policy: The run's; the one of `circumstances.policy_now` must be met as well.
        holdout: The rows.
        circumstances: What is known of data, clock, policy and registry.

    Returns:
        `reject` if a required rule failed, `keep` if only the comparison with the champion did, else `promote`.
    """
    raise NotImplementedError
