"""Where the card's marks go."""

from __future__ import annotations

import math

import pytest

from noria.report.card_charts import forest, gauge, slice_rows
from tests.support import judged


@pytest.mark.parametrize(
    ("value", "limit", "start", "width", "tick"),
    [
        (50.0, 100.0, 0.0, 44.6, 89.3),
        (200.0, 100.0, 0.0, 89.3, 44.6),
        (-0.04, -0.05, 28.6, 71.4, 10.7),
        (-0.05, 0.05, 5.4, 44.6, 94.6),
    ],
)
def test_a_rule_is_a_bar_from_zero_with_its_limit(
    value: float, limit: float, start: float, width: float, tick: float
) -> None:
    drawn = gauge(judged.rule("threshold", value=value, limit=limit))
    assert drawn
    assert (drawn.start, drawn.width, drawn.limit) == pytest.approx((start, width, tick), abs=0.1)


@pytest.mark.parametrize(
    ("kind", "value", "limit"),
    [
        ("threshold", None, 1.0),
        ("threshold", 1.0, None),
        ("threshold", math.nan, 1.0),
        ("latency", math.inf, 1.0),
        ("leakage", 0.0, 0.0),
        ("clock", -86_400.0, 300.0),
    ],
)
def test_a_rule_without_two_numbers_from_zero_has_no_bar(kind: str, value: float | None, limit: float | None) -> None:
    assert gauge(judged.rule(kind, value=value, limit=limit)) is None


def test_zero_is_in_the_middle_and_every_mark_inside() -> None:
    rows = forest(judged.comparison(0.864, 0.858, 0.004).intervals, "r2", 0.003)
    assert [row.interval.metric for row in rows] == ["r2", "mae", "rmse", "rae", "rse"]
    assert [row.margin is not None for row in rows] == [True, False, False, False, False]
    for row in rows:
        assert row.detectable is not None
        assert 50 < row.low < row.point < row.high <= 100
        assert 50 < row.detectable < 100
    assert [row.outcome for row in rows] == ["unclear", "better", "better", "better", "better"], "0.002 < margin"
    (mirrored,) = forest([judged.interval("r2", 0.852, 0.858, 0.004)], "r2", 0.0)
    assert mirrored.outcome == "worse"
    assert mirrored.point - 50 < mirrored.high - 50 < 0


def test_what_is_no_number_or_has_no_end_stays_inside() -> None:
    endless = judged.interval("r2", 0.864, 0.858, 0.004, low=-math.inf, high=math.inf, detectable=math.inf)
    nothing = judged.interval("r2", math.nan, 0.858, 0.004, p_value=1.0)
    equal = judged.interval("r2", 0.858, 0.858, 0.0)
    drawn = forest([endless, nothing, equal], "r2", 0.0)
    assert [row.outcome for row in drawn] == ["unclear", "undefined", "same"]
    assert (drawn[0].low, drawn[0].high, drawn[0].detectable) == (0, 100, None)
    assert drawn[2].point == 50
    assert all(0 <= place <= 100 for row in drawn for place in (row.low, row.high, row.point))


def test_groups_of_rows_are_on_the_scale_of_those_that_are_judged() -> None:
    overall = judged.interval("r2", 0.83, 0.86, 0.01)
    rows, scale = slice_rows(judged.slices(), overall)
    assert [row.result.value for row in rows] == ["group C", "standard", "free/reduced", "group A"], "failed ones first"
    assert scale
    assert scale.low < 0.79 < 0.88 < scale.high < 0.9
    assert [row.beyond for row in rows] == [False, False, False, True]
    assert [row.failed for row in rows] == [True, False, False, False]
    assert [row.faint for row in rows] == [False, False, False, True]
    assert rows[0].champion is not None
    assert rows[0].span == pytest.approx((rows[0].candidate, rows[0].champion - rows[0].candidate))


def test_groups_without_a_champion_or_a_number() -> None:
    alone = tuple(
        s.model_copy(update={"champion": None, "improvement": None, "judged": False}) for s in judged.slices()
    )
    rows, scale = slice_rows(alone, None)
    assert scale
    assert scale.low < 0.71 < 0.861 < scale.high
    assert not any(row.beyond or row.faint for row in rows)
    undefined = alone[0].model_copy(update={"candidate": math.nan})
    assert slice_rows((undefined,), None) == ([rows[0].__class__(undefined, 0, None, beyond=True)], None)
    assert slice_rows((), None) == ([], None)
