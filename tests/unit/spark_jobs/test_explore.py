"""The exploration against pandas and SciPy, on a real local Spark."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from scipy import stats

from noria.errors import JobError, SpecError
from noria.settings import CHECKOUT, Settings
from noria.stages.explore import explore, job_spec
from noria.stages.ingest import ingest
from noria.workspace import Workspace
from tests.support.pipelines import students
from tests.support.runs import done

pytestmark = pytest.mark.slow
ROWS = 3_000


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("explore_job", CHECKOUT / "spark_jobs" / "explore.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


job = _load()

SPEC: dict[str, Any] = {
    "columns": [
        {"name": "score", "type": "integer"},
        {"name": "weight", "type": "number"},
        {"name": "constant", "type": "number"},
        {"name": "empty", "type": "number"},
        {"name": "group", "type": "category", "values": ["a", "b", "c", "never"]},
        {"name": "note", "type": "string"},
        {"name": "flag", "type": "boolean"},
        {"name": "day", "type": "date"},
    ],
    "questions": [
        {"title": "Rows", "sql": "count(*)"},
        {"title": "Share of high scores", "sql": "avg(CAST(score >= 60 AS INT))"},
        {"title": "Is there any b?", "sql": "bool_or(group = 'b')"},
        {"title": "Nothing", "sql": "max(empty)"},
    ],
}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    random = np.random.default_rng(3)
    score = np.clip(np.rint(random.normal(66, 15, ROWS)), 0, 100)
    weight = score * 0.4 + random.gamma(2.0, 3.0, ROWS)
    weight[random.random(ROWS) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "score": pd.array(score.astype(int), dtype="Int64"),
            "weight": weight,
            "constant": 7.0,
            "empty": pd.Series([None] * ROWS, dtype="float64"),
            "group": random.choice(["a", "b", "c"], ROWS, p=[0.6, 0.3, 0.1]),
            "note": [f"note {i % 900}" if i % 3 else "the usual" for i in range(ROWS)],
            "flag": random.random(ROWS) < 0.25,
            "day": [date(2024, 1, 1 + i % 28) for i in range(ROWS)],
        }
    )


@pytest.fixture(scope="module")
def url(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("table") / "table.parquet"
    table = frame.copy()
    table.loc[table.index[:5], "score"] = None
    table.to_parquet(file)
    return str(file)


@pytest.fixture(scope="module")
def expected(url: str) -> pd.DataFrame:
    return pd.read_parquet(url)


@pytest.fixture(scope="module")
def result(spark: SparkSession, url: str) -> dict[str, Any]:
    return job.explore(spark.read.parquet(url), SPEC)


def _column(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c for c in result["columns"] if c["name"] == name)


@pytest.mark.parametrize("name", ["score", "weight"])
def test_moments_are_those_of_pandas_and_scipy(result: dict[str, Any], expected: pd.DataFrame, name: str) -> None:
    found, values = _column(result, name), expected[name].dropna().astype(float)
    assert found["count"] == len(values)
    assert found["nulls"] == ROWS - len(values) > 0
    assert found["mean"] == pytest.approx(values.mean())
    assert found["sd"] == pytest.approx(values.std(ddof=1))
    assert found["skewness"] == pytest.approx(stats.skew(values))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(values))
    assert (found["min"], found["max"]) == (values.min(), values.max())


@pytest.mark.parametrize("name", ["score", "weight"])
def test_quantiles_are_exact_values_of_the_column(result: dict[str, Any], expected: pd.DataFrame, name: str) -> None:
    values = expected[name].dropna().astype(float)
    for probability, quantile in _column(result, name)["quantiles"].items():
        assert quantile == pytest.approx(np.quantile(values, float(probability), method="inverted_cdf"))


@pytest.mark.parametrize("name", ["score", "weight", "group", "note", "day", "flag", "constant"])
def test_distinct_values_are_exact_below_a_few_thousand(
    result: dict[str, Any], expected: pd.DataFrame, name: str
) -> None:
    assert _column(result, name)["distinct"] == pytest.approx(expected[name].nunique(), rel=0.005)


def test_a_column_without_values_has_no_figures(result: dict[str, Any]) -> None:
    empty = _column(result, "empty")
    assert (empty["count"], empty["nulls"], empty["distinct"]) == (0, ROWS, 0)
    assert empty["mean"] is None
    assert empty["quantiles"] == {}
    assert empty["histogram"] == {"edges": [], "counts": []}


def test_declared_values_are_counted_exactly(result: dict[str, Any], expected: pd.DataFrame) -> None:
    assert dict(_column(result, "group")["top"]) == expected["group"].value_counts().to_dict()
    assert dict(_column(result, "flag")["top"]) == {
        "False": int((~expected["flag"]).sum()),
        "True": int(expected["flag"].sum()),
    }


def test_frequent_undeclared_values_are_found(result: dict[str, Any], expected: pd.DataFrame) -> None:
    top = _column(result, "note")["top"]
    assert tuple(top[0]) == ("the usual", int((expected["note"] == "the usual").sum()))
    assert len(top) <= job.TOP_VALUES


def test_dates_have_their_span(result: dict[str, Any]) -> None:
    day = _column(result, "day")
    assert (day["earliest"], day["latest"]) == ("2024-01-01", "2024-01-28")


def test_histogram_of_whole_numbers_is_exact(result: dict[str, Any], expected: pd.DataFrame) -> None:
    found = _column(result, "score")["histogram"]
    counts, _ = np.histogram(expected["score"].dropna().astype(int), bins=found["edges"])
    assert found["counts"] == counts.tolist()
    assert all(edge == int(edge) for edge in found["edges"])


def test_histogram_of_measures_is_close(result: dict[str, Any], expected: pd.DataFrame) -> None:
    found, values = _column(result, "weight")["histogram"], expected["weight"].dropna()
    counts, _ = np.histogram(values, bins=found["edges"])
    assert sum(found["counts"]) == pytest.approx(len(values), abs=len(found["counts"]))
    assert np.abs(np.array(found["counts"]) - counts).max() < 0.02 * ROWS


def test_correlation_is_pairwise_like_pandas_and_undefined_for_constants(
    result: dict[str, Any], expected: pd.DataFrame
) -> None:
    names = result["correlation_columns"]
    assert names == ["score", "weight", "constant", "empty"]
    matrix = expected[["score", "weight"]].astype(float).corr().to_numpy()
    assert result["correlation"][0][1] == pytest.approx(matrix[0, 1])
    assert result["correlation"][1][0] == result["correlation"][0][1]
    assert result["correlation"][0][0] == 1.0
    assert result["correlation"][2] == [None] * 4
    assert result["correlation"][3] == [None] * 4


def test_questions_are_answered(result: dict[str, Any], expected: pd.DataFrame) -> None:
    share = float((expected["score"].fillna(0) >= 60).sum() / expected["score"].notna().sum())
    answers = [a["value"] for a in result["answers"]]
    assert answers[0] == ROWS
    assert answers[1] == pytest.approx(share)
    assert answers[2:] == [1.0, None]


def test_the_table_is_read_in_one_job_and_one_scan(spark: SparkSession, url: str) -> None:
    context, table = spark.sparkContext, spark.read.parquet(url)
    context.setJobGroup("one-pass", "exploring")
    job.explore(table, SPEC)
    context.setLocalProperty("spark.jobGroup.id", None)
    assert len(context.statusTracker().getJobIdsForGroup("one-pass")) == 1
    plan = job.nan_to_null(table).agg(*job.measures(SPEC))._jdf.queryExecution().executedPlan().toString()
    assert plan.count("FileScan parquet") == 1


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("avg(nope)", "nope"),
        ("avg(score", "Syntax error"),
        ("score", "score"),
        ("max(note)", "the answer is a string, expected a number"),
        ("avg(CAST(note AS INT))", "the usual"),
    ],
    ids=["no such column", "syntax", "no aggregate", "text", "fails on the data"],
)
def test_a_wrong_question_is_named(spark: SparkSession, url: str, sql: str, said: str) -> None:
    spec = {**SPEC, "questions": [SPEC["questions"][0], {"title": "The wrong one", "sql": sql}]}
    with pytest.raises(job.QuestionError, match="The wrong one") as caught:
        job.explore(spark.read.parquet(url), spec)
    assert said in str(caught.value)


class Here:
    """Runs the script in this process, on the Spark that is there."""

    def submit(self, _script: Path, arguments: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["explore.py", *arguments])
            patch.setattr(SparkSession, "stop", lambda _self: None)
            if code := job.main():
                raise JobError(f"explore.py ended with exit code {code}")


def test_the_stage_takes_a_wrong_question_for_a_mistake_in_the_spec(spark: SparkSession, tmp_path: Path) -> None:
    settings = Settings.from_env(home=tmp_path)
    workspace = Workspace(settings, Workspace.open(settings).lake, spark_runner=Here())
    run = workspace.create_run("students", "r1")
    questions = {"questions": [{"title": "How many?", "sql": "avg(maths)"}]}
    run = run.model_copy(update={"pipeline": students(explore=questions)})
    done(workspace, run, "ingest", ingest(run, workspace))
    with pytest.raises(SpecError, match=r"explore\.questions: question 'How many\?' \(avg\(maths\)\): .*math_score"):
        explore(run, workspace)


def test_an_empty_table_is_explored(spark: SparkSession, url: str) -> None:
    found = job.explore(spark.read.parquet(url).limit(0), SPEC)
    assert found["rows"] == 0
    assert [a["value"] for a in found["answers"]] == [0.0, None, None, None]


def test_columns_with_awkward_names(spark: SparkSession) -> None:
    table = spark.createDataFrame([(1.0, "x"), (math.nan, "y")], "`a``b.c` double, `<script>` string")
    spec = {
        "columns": [{"name": "a`b.c", "type": "number"}, {"name": "<script>", "type": "category"}],
        "questions": [],
    }
    number, text = job.explore(table, spec)["columns"]
    assert (number["count"], number["nulls"], number["max"]) == (1, 1, 1.0)
    assert sorted(text["top"]) == [["x", 1], ["y", 1]]


def test_numbers_among_the_declared_values_are_counted_as_texts(spark: SparkSession) -> None:
    doors = {"name": "doors", "type": "category", "values": [2, 3, "5more"]}
    reading = {"name": "reading_score", "type": "integer", "values": [0, 1]}
    pipeline = students(
        columns=[doors, reading, {"name": "math_score", "type": "integer"}],
        features=["doors", "reading_score"],
        expectations=[],
        explore={"questions": []},
        gate={},
    )
    table = spark.createDataFrame(
        [("2", 1, 5), ("5more", 1, 6), ("2", 0, 7)], "doors string, reading_score int, math_score int"
    )
    found = job.explore(table, json.loads(json.dumps(job_spec(pipeline))))["columns"]
    assert [column["top"] for column in found] == [[["2", 2], ["5more", 1]], [["1", 2], ["0", 1]], []]


def test_a_reader_never_finds_half_a_document(spark: SparkSession, tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    documents = [{"try": 1, "text": "a" * 3_000_000}, {"try": 2, "text": "b" * 2_000_000}]
    job.write(spark, str(target), documents[0])
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(job.write, spark, str(target), document) for document in documents * 8]
        while not all(w.done() for w in writers):
            assert json.loads(target.read_bytes()) in documents
    for writer in writers:
        writer.result()
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_the_result_is_one_file(spark: SparkSession, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "result.json"
    job.write(spark, str(target), {"é": 1})
    job.write(spark, str(target), {"é": 2})
    job.write(spark, target.as_uri(), {"é": 3})
    assert target.read_text(encoding="utf-8") == '{"é": 3}'
    assert [p.name for p in target.parent.iterdir()] == ["result.json"]
