"""The gate's policy: what it says where nothing is said, and which mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.errors import SpecError
from noria.pipeline import Gate, Limit, Pipeline, Slice, load_spec

SPEC = """\
name: flowers
description: Tells flowers apart.
owner: someone
source: { kind: file, path: flowers.csv }
columns:
  - { name: petal, type: number }
  - { name: day, type: date }
  - { name: garden, type: category }
  - { name: kind, type: category }
task: classification
target: kind
features: [petal]
estimators: [{ kind: linear }]
metrics: [accuracy, log_loss]
gate:
"""
LINES = SPEC.count("\n")


def load(tmp_path: Path, policy: str) -> Pipeline:
    path = tmp_path / "flowers" / "pipeline.yaml"
    path.parent.mkdir()
    path.write_text(SPEC + policy, encoding="utf-8")
    return load_spec(path)


def test_where_nothing_is_said_luck_does_not_promote_and_nothing_is_asked_of_people() -> None:
    policy = Gate()
    assert (policy.mode, policy.beat_champion, policy.validation) == ("enforce", "required", "required")
    assert (policy.alpha, policy.margin, policy.min_rows, policy.draws) == (0.05, 0.0, 30, 2000)
    assert policy.approval is None and policy.thresholds == policy.slices == ()
    assert Limit(max=1).level == Slice(column="x").level == "required"


def test_a_whole_policy_is_read(tmp_path: Path) -> None:
    gate = load(
        tmp_path,
        """\
  thresholds:
    - { metric: accuracy, min: 0.8 }
    - { metric: accuracy, min: 0.9, level: advisory }
    - { metric: log_loss, max: 2.5 }
  margin: 0.01
  slices: [{ column: garden, margin: 0.02, min_rows: 50, level: advisory }]
  calibration: { max: 0.1 }
  limits: { latency_milliseconds: { max: 5 }, model_megabytes: { max: 1 }, training_vcpu_seconds: { max: 60 } }
  freshness: { max_days: 1.5 }
  validation: advisory
  approval: { timeout_hours: 8, approvers: [ada, grace] }
""",
    ).gate
    assert [(t.metric, t.min, t.level) for t in gate.thresholds[:2]] == [
        ("accuracy", 0.8, "required"),
        ("accuracy", 0.9, "advisory"),
    ]
    assert gate.slices[0].level == gate.validation == "advisory"
    assert gate.limits.latency_milliseconds == Limit(max=5)
    assert gate.approval is not None and gate.approval.approvers == ("ada", "grace")


@pytest.mark.parametrize(
    ("policy", "line", "message"),
    [
        # what no candidate can meet
        (
            "  thresholds:\n    - { metric: accuracy, min: 80 }",
            2,
            "min: no model has accuracy 80: it is at most 1; 80 %",
        ),
        ("  thresholds:\n    - { metric: log_loss, max: -1 }", 2, "max: no model has log_loss -1: it is at least 0"),
        ("  margin: 5", 1, "gate.margin: no accuracy differs by 5: it lies between 0 and 1; 5 % is written 0.05"),
        # what keeps out the best ones
        (
            "  thresholds:\n    - { metric: accuracy, max: 0.9 }",
            2,
            "accuracy is better the greater it is, so max keeps",
        ),
        (
            "  thresholds:\n    - { metric: log_loss, min: 0.9 }",
            2,
            "log_loss is better the smaller it is, so min keeps",
        ),
        # what every candidate meets
        ("  slices: [{ column: garden, margin: 2 }]", 1, "gate.slices.0.margin: no accuracy differs by 2"),
        # what is said twice
        (
            "  thresholds:\n    - { metric: accuracy, min: 0.8 }\n    - { metric: accuracy, min: 0.7 }",
            3,
            "gate.thresholds.1.metric: 'accuracy' has a bound of level required already; keep one of them",
        ),
        (
            "  slices:\n    - { column: garden }\n    - { column: garden }",
            3,
            "gate.slices.1.column: 'garden' stands twice",
        ),
        ("  approval: { approvers: [ada, ada] }", 1, "gate.approval.approvers.1: 'ada' stands twice"),
        # other contradictions
        ("  alpha: 0.001", 1, "gate.draws: 2000 draws are too few to tell a chance of 0.001; give at least 10000"),
        ("  slices: [{ column: kind }]", 1, "'kind' is the target; a slice is chosen by another column"),
        ("  slices: [{ column: day }]", 1, "'day' is of type date; slices need category, boolean, integer, string"),
        ("  slices: [{ column: gardn }]", 1, "'gardn' is not among the columns (petal, day, garden, kind)"),
        ("  thresholds:\n    - { metric: f1, min: 0.5 }", 2, "'f1' is not among the metrics (accuracy, log_loss)"),
        # wrong values, told with what may stand there
        ("  mode: dryrun", 1, "gate.mode: got 'dryrun'; expected 'enforce' or 'dry_run'; did you mean 'dry_run'?"),
        ("  beat_champion: optional", 1, "got 'optional'; expected 'required' or 'advisory'"),
        ("  limits:\n    model_megabytes: 5", 2, "got 5; expected keys with values below it (max, level)"),
        ("  slices: [garden]", 1, "gate.slices.0: got 'garden'; expected keys with values below it (column, margin"),
        ("  freshness: { max_day: 2 }", 1, "gate.freshness.max_day: unknown key; did you mean 'max_days'?"),
        ("  alpha: 0", 1, "gate.alpha: got 0; expected greater than 0"),
        ("  approval: { timeout_hours: 1000 }", 1, "expected less than or equal to 720"),
        ("  calibration: { max: .inf }", 1, "gate.calibration.max: got inf; expected a finite number"),
    ],
)
def test_a_mistake_in_the_policy_is_told_with_its_line(tmp_path: Path, policy: str, line: int, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, policy + "\n")
    said = str(caught.value)
    assert message in said
    key_is_absent = policy == "  alpha: 0.001"  # `draws` stands nowhere, so its section is named
    wanted = LINES + (0 if key_is_absent else line)
    assert any(part.startswith(f"{tmp_path}/flowers/pipeline.yaml:{wanted}: ") for part in said.splitlines()), said


def test_contradictions_of_the_policy_are_told_beside_the_others(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, "  margin: 5\n  slices: [{ column: gardn }]\n")
    assert len(str(caught.value).splitlines()) == 2


def test_an_asked_approval_does_not_keep_a_run_from_being_dry(tmp_path: Path) -> None:
    policy = load(tmp_path, "  approval: {}\n  mode: dry_run\n").gate
    assert policy.mode == "dry_run" and policy.approval is not None
