"""The suite of a spec and its verdict, by the real Great Expectations."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noria.errors import SpecError
from noria.pipeline import Pipeline
from noria.records import ExpectationResult
from noria.validation import build_suite, judge
from tests.support.pipelines import expecting, students

MEAN = "expect_column_mean_to_be_between"


def _frame(pipeline: Pipeline, rows: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            c.name: random.integers(40, 90, rows) if c.is_numeric else random.choice([str(v) for v in c.values], rows)
            for c in pipeline.columns
        }
    )


def _judge(pipeline: Pipeline, frame: pd.DataFrame) -> list[ExpectationResult]:
    results, _ = judge(frame, pipeline.name, build_suite(pipeline))
    return list(results)


def _expect(name: str, severity: str = "critical", **args: Any) -> dict[str, Any]:
    return {"expect": name, "severity": severity, "args": args}


def test_the_columns_imply_order_and_nulls() -> None:
    pipeline = expecting()
    names = [check.expectation.expectation_type for check in build_suite(pipeline)]
    assert names[0] == "expect_table_columns_to_match_ordered_list"
    assert names.count("expect_column_values_to_not_be_null") == len(pipeline.columns)


def test_a_nullable_column_may_have_nulls() -> None:
    columns = [c.model_dump(mode="json") for c in students().columns]
    columns[-1]["nullable"] = True
    pipeline = students(columns=columns, expectations=[])
    frame = _frame(pipeline).astype({"writing_score": "float"})
    frame.loc[0, "writing_score"] = None
    assert all(r.success for r in _judge(pipeline, frame))


def test_results_come_in_the_order_of_the_suite_with_their_severity() -> None:
    pipeline = expecting(
        _expect(MEAN, "warning", column="writing_score", min_value=99),
        _expect("expect_table_row_count_to_be_between", min_value=10),
        _expect(MEAN, column="math_score", min_value=40, max_value=90),
    )
    warning, count, mean = _judge(pipeline, _frame(pipeline))[-3:]
    assert (warning.success, warning.severity, warning.column) == (False, "warning", "writing_score")
    assert (count.success, count.severity, count.column, count.observed) == (True, "critical", None, "60")
    assert mean.success
    assert mean.expected == ("math_score mean must be greater than or equal to 40 and less than or equal to 90.")


def test_what_was_observed_is_said_in_words() -> None:
    pipeline = expecting(
        _expect("expect_column_values_to_be_in_set", column="gender", value_set=["male"]),
        _expect("expect_column_distinct_values_to_equal_set", column="lunch", value_set=["standard", "none"]),
        _expect(
            "expect_column_quantile_values_to_be_between",
            column="math_score",
            quantile_ranges={"quantiles": [0.5], "value_ranges": [[10, 11]]},
        ),
    )
    frame = _frame(pipeline)
    frame.loc[0, "math_score"] = None
    null, *_, values, distinct, quantile = _judge(pipeline, frame)[6:]
    assert null.observed.startswith("1 of 60 unexpected (1.67 %)")
    females = int((frame["gender"] == "female").sum())
    assert values.observed.startswith(f"{females} of 60 unexpected")
    assert values.observed.endswith(": female")
    assert distinct.observed == "unexpected: free/reduced; missing: none"
    assert distinct.expected == "lunch distinct values must match this set: standard, none."
    assert "quantiles 0.5, values" in quantile.observed
    assert quantile.expected == "math_score quantiles must be within the following value ranges. Median; 10; 11"


def test_the_same_expectation_twice_gives_two_results() -> None:
    same = _expect(MEAN, column="math_score", min_value=0)
    assert len(_judge(expecting(same, same), _frame(students()))) == len(_judge(expecting(), _frame(students()))) + 2


def test_limits_of_dates_are_dates() -> None:
    columns = [c.model_dump(mode="json") for c in students().columns]
    columns.append({"name": "day", "type": "date"})
    limits = {"min_value": "2026-01-01", "max_value": "2026-12-31"}
    pipeline = students(
        columns=columns, expectations=[_expect("expect_column_max_to_be_between", column="day", **limits)]
    )
    frame = _frame(students())
    frame["day"] = pd.to_datetime([date(2026, 5, 4)] * len(frame))
    assert _judge(pipeline, frame)[-1].success
    frame["day"] = pd.to_datetime([date(2027, 5, 4)] * len(frame))
    assert not _judge(pipeline, frame)[-1].success


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        (_expect("expect_colum_mean_to_be_between", column="math_score"), [r"expectations[1].expect", repr(MEAN)]),
        (_expect(MEAN, column="math_score", min_valu=3), ["expectations[1].args.min_valu", "'min_value'"]),
        (_expect(MEAN, column="math_score", min_value="many"), ["expectations[1].args", "min_value", "'many'"]),
        (_expect(MEAN, min_value=3), ["expectations[1].args", "column"]),
        ({"expect": MEAN, "args": {"column": "math_score", "severity": "info"}}, ["expectations[1].args.severity"]),
    ],
    ids=["name", "argument", "type", "missing", "severity among the arguments"],
)
def test_a_mistake_in_an_expectation_names_its_key(expectation: dict[str, Any], said: list[str]) -> None:
    good = _expect(MEAN, column="math_score", min_value=0)
    with pytest.raises(SpecError) as caught:
        build_suite(expecting(good, expectation))
    for part in said:
        assert part in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        build_suite(expecting(_expect("expect_nothing"), _expect(MEAN, column="math_score", nope=1)))
    assert "expectations[0]" in str(caught.value)
    assert "expectations[1]" in str(caught.value)


def test_an_expectation_that_cannot_be_evaluated_is_an_error_and_no_pass() -> None:
    pipeline = expecting(_expect(MEAN, "warning", column="gender", min_value=1))
    with pytest.raises(SpecError, match=r"expectations\[0\]: expect_column_mean_to_be_between cannot be evaluated"):
        _judge(pipeline, _frame(pipeline))
