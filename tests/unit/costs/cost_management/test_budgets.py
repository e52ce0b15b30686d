"""Names of budgets; what is sent is tried on the twin."""

from __future__ import annotations

from noria.costs.cost_management.budgets import budget_name
from noria.pipeline.schema import MAX_NAME


def test_names_fit_azure_and_stay_apart() -> None:
    longest = ["a" * MAX_NAME, "a" * (MAX_NAME - 1) + "b"]
    names = [budget_name(name) for name in ("students", "a_b", *longest)]
    assert names[:2] == ["noria-pipeline-students", "noria-pipeline-a_b"]
    assert len(set(names)) == 4 and all(len(name) <= 63 for name in names)
