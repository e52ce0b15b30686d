"""Profile a table and answer questions about it, in one pass over the data.

Self-contained (standard library and PySpark only), so that it runs unchanged on local Spark and on Synapse:

    spark-submit explore.py --input TABLE.parquet --output PROFILE.json --spec '{"columns": [...], "questions": [...]}'

The spec names the columns (`name`, `type`, optionally `values`) and the questions (`title`, `sql`: an aggregate
expression of Spark SQL). Everything is asked for in one `DataFrame.agg`, so Spark reads the table once:

- distinct values by a HyperLogLog sketch that is as good as exact below a few thousand values;
- quantiles by `percentile_approx`, which returns values of the column and is exact below 10,000 rows;
- mean, sample standard deviation, and skewness and excess kurtosis of the population;
- Pearson correlation over the rows where both columns have a value (pairwise deletion);
- histograms from `histogram_numeric`, exact below 128 distinct values;
- the most frequent values: exact counts of declared values, a frequent-items sketch (Spark 4.1) of undeclared ones.

NaN counts as null. A wrong question ends the job with exit code 2, and the output then holds `{"error": ...}`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import uuid
from pathlib import Path
from typing import Any

import pyspark
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession, types
from pyspark.sql import functions as F  # noqa: N812  the name everybody knows it by

PROBABILITIES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
QUANTILE_ACCURACY = 10_000
SKETCH_LOG2_SIZE = 16
HISTOGRAM_CENTROIDS = 128
HISTOGRAM_BARS = 20
TOP_VALUES = 10
NUMERIC = ("integer", "number")
HAS_TOP_K = tuple(int(part) for part in pyspark.__version__.split(".")[:2]) >= (4, 1)
Spec = dict[str, Any]


class QuestionError(Exception):
    """A question cannot be answered; the message names it."""


def explore(table: DataFrame, spec: Spec) -> dict[str, Any]:
    """Profile of a table and the answers to the spec's questions, as a JSON document.

    Raises:
        QuestionError: A question is not an aggregate expression with a number for an answer.
    """
    table = nan_to_null(table)
    check_questions(table, spec["questions"])
    row = aggregate(table, spec)
    return {
        "rows": row["rows"],
        "columns": [profile(row, i, column) for i, column in enumerate(spec["columns"])],
        **correlation(row, spec["columns"]),
        "answers": [answer(row, i, question) for i, question in enumerate(spec["questions"])],
    }


def nan_to_null(table: DataFrame) -> DataFrame:
    """The table with null in place of NaN, which Spark would take for a value larger than any other."""
    floating = [f.name for f in table.schema if isinstance(f.dataType, types.FloatType | types.DoubleType)]
    return table.withColumns({name: F.when(~F.isnan(quoted(name)), quoted(name)) for name in floating})


def aggregate(table: DataFrame, spec: Spec) -> dict[str, Any]:
    """All figures in one pass, by the names that `measures` gives them."""
    try:
        return table.agg(*measures(spec)).collect()[0].asDict()
    except PySparkException as error:
        for question in spec["questions"]:  # one question may have failed on the data; find out which
            try:
                table.agg(F.expr(question["sql"])).collect()
            except PySparkException as own:
                raise QuestionError(describe(question, own)) from error
        raise


def measures(spec: Spec) -> list[Column]:
    """The aggregate expressions of every figure, each with a name of its own."""
    columns = spec["columns"]
    found = [F.count(F.lit(1)).alias("rows")]
    for i, column in enumerate(columns):
        found += [measure.alias(f"{i}:{name}") for name, measure in column_measures(column).items()]
    for (i, a), (j, b) in itertools.combinations(numeric(columns), 2):
        found += [measure.alias(f"{i}:{j}:{name}") for name, measure in pair_measures(a, b).items()]
    for i, question in enumerate(spec["questions"]):
        found.append(F.expr(question["sql"]).cast("double").alias(f"question:{i}"))
    return found


def column_measures(column: Spec) -> dict[str, Column]:
    """The aggregate expressions of one column, by the name of the figure."""
    value = quoted(column["name"])
    found = {
        "count": F.count(value),
        "distinct": F.hll_sketch_estimate(F.hll_sketch_agg(value.cast("string"), F.lit(SKETCH_LOG2_SIZE))),
    }
    if column["type"] in NUMERIC:
        number = as_number(column)
        found |= {
            "mean": F.mean(number),
            "sd": F.stddev_samp(number),
            "skewness": F.skewness(number),
            "kurtosis": F.kurtosis(number),
            "min": F.min(number),
            "max": F.max(number),
            "quantiles": F.percentile_approx(number, list(PROBABILITIES), QUANTILE_ACCURACY),
            "histogram": F.histogram_numeric(number, F.lit(HISTOGRAM_CENTROIDS)),
        }
    elif column["type"] in ("date", "datetime"):
        found |= {"earliest": F.min(value).cast("string"), "latest": F.max(value).cast("string")}
    for k, allowed in enumerate(declared_values(column)):
        found[f"value:{k}"] = F.count_if(value == F.lit(allowed))
    if needs_sketch(column):
        found["top"] = F.expr(f"approx_top_k(CAST({escaped(column['name'])} AS STRING), {TOP_VALUES})")
    return found


def pair_measures(a: Spec, b: Spec) -> dict[str, Column]:
    """What the correlation of two columns needs, over the rows where both have a value.

    Not `corr`: where a column is constant, that ends the whole query with a division by zero.
    """
    x, y = as_number(a), as_number(b)
    return {
        "covariance": F.covar_pop(x, y),
        "sd": F.stddev_pop(F.when(y.isNotNull(), x)),
        "other_sd": F.stddev_pop(F.when(x.isNotNull(), y)),
    }


def declared_values(column: Spec) -> list[Any]:
    """Values whose frequency is counted exactly."""
    if column["type"] == "boolean":
        return [True, False]
    return list(column.get("values") or [])


def needs_sketch(column: Spec) -> bool:
    """Whether the frequent values must be found, and this Spark can find them in the same pass."""
    return column["type"] in ("category", "string") and not column.get("values") and HAS_TOP_K


def profile(row: dict[str, Any], i: int, column: Spec) -> dict[str, Any]:
    """The document of one column."""
    found = {"name": column["name"], "type": column["type"]}
    found |= {"count": row[f"{i}:count"], "nulls": row["rows"] - row[f"{i}:count"]}
    found["distinct"] = row[f"{i}:distinct"] or 0
    found["top"] = top_values(row, i, column)
    if column["type"] in NUMERIC:
        found |= {name: finite(row[f"{i}:{name}"]) for name in ("mean", "sd", "skewness", "kurtosis", "min", "max")}
        found["quantiles"] = {str(p): q for p, q in zip(PROBABILITIES, row[f"{i}:quantiles"] or [], strict=False)}
        centroids = [(c["x"], c["y"]) for c in row[f"{i}:histogram"] or []]
        found["histogram"] = histogram(centroids, found["min"], found["max"], whole=column["type"] == "integer")
    elif column["type"] in ("date", "datetime"):
        found |= {name: row[f"{i}:{name}"] for name in ("earliest", "latest")}
    return found


def top_values(row: dict[str, Any], i: int, column: Spec) -> list[list[Any]]:
    """Most frequent values with their counts, the most frequent first."""
    if needs_sketch(column):
        return [[item["item"], item["count"]] for item in row[f"{i}:top"] or []]
    counts = [[str(v), row[f"{i}:value:{k}"]] for k, v in enumerate(declared_values(column))]
    return sorted((c for c in counts if c[1]), key=lambda c: -c[1])[:TOP_VALUES]


def histogram(centroids: list[tuple[float, float]], low: float | None, high: float | None, *, whole: bool) -> Spec:
    """Bars of equal width over the range; `edges` has one entry more than `counts`.

    Bars of whole numbers are a whole number wide, so that none of them gathers more values than its neighbours.
    """
    if low is None or high is None:
        return {"edges": [], "counts": []}
    if whole:
        width = max(1.0, math.ceil((high - low + 1) / HISTOGRAM_BARS))
        start = math.floor(low / width) * width
        bars = int((high - start) // width) + 1
    else:
        width, start, bars = (high - low) / HISTOGRAM_BARS or 1.0, low, HISTOGRAM_BARS if high > low else 1
    counts = [0.0] * bars
    for value, weight in centroids:
        counts[min(bars - 1, max(0, int((value - start) / width)))] += weight
    return {"edges": [start + k * width for k in range(bars + 1)], "counts": [round(c) for c in counts]}


def correlation(row: dict[str, Any], columns: list[Spec]) -> dict[str, Any]:
    """The symmetric matrix of the numeric columns; none where it is not defined."""
    places = [i for i, _ in numeric(columns)]

    def cell(i: int, j: int) -> float | None:
        if i == j:
            return 1.0 if row[f"{i}:sd"] else None
        pair = f"{min(i, j)}:{max(i, j)}"
        scale = (row[f"{pair}:sd"] or 0.0) * (row[f"{pair}:other_sd"] or 0.0)
        return max(-1.0, min(1.0, row[f"{pair}:covariance"] / scale)) if scale else None

    return {
        "correlation_columns": [columns[i]["name"] for i in places],
        "correlation": [[cell(i, j) for j in places] for i in places],
    }


def answer(row: dict[str, Any], i: int, question: Spec) -> dict[str, Any]:
    """A question with its answer."""
    return {"title": question["title"], "value": finite(row[f"question:{i}"])}


def check_questions(table: DataFrame, questions: list[Spec]) -> None:
    """Let Spark analyse every question, without reading any data.

    Raises:
        QuestionError: The SQL is wrong, is no aggregate, or its result is not a number.
    """
    for question in questions:
        try:
            result = table.agg(F.expr(question["sql"]).alias("answer")).schema["answer"].dataType
        except PySparkException as error:
            raise QuestionError(describe(question, error)) from None
        if not isinstance(result, types.NumericType | types.BooleanType | types.NullType):
            raise QuestionError(
                f"question {question['title']!r} ({question['sql']}): the answer is a {result.simpleString()}, "
                "expected a number"
            )


def describe(question: Spec, error: PySparkException) -> str:
    """The question with the first line of what Spark says about it."""
    text = (error.getMessage() or str(error)).strip().splitlines()[0]
    return f"question {question['title']!r} ({question['sql']}): {text}"


def numeric(columns: list[Spec]) -> list[tuple[int, Spec]]:
    """The numeric columns with their places."""
    return [(i, column) for i, column in enumerate(columns) if column["type"] in NUMERIC]


def as_number(column: Spec) -> Column:
    """The column as a double."""
    return quoted(column["name"]).cast("double")


def quoted(name: str) -> Column:
    """A column by its name."""
    return F.col(escaped(name))


def escaped(name: str) -> str:
    """A column's name as SQL takes it, whatever characters it has."""
    return "`" + name.replace("`", "``") + "`"


def finite(value: float | None) -> float | None:
    """The value, or none where it is not a finite number."""
    return None if value is None or not math.isfinite(value) else value


def write(spark: SparkSession, url: str, document: dict[str, Any]) -> None:
    """Write one JSON file; on a disk it appears whole, even where two tries of a job write it at once.

    Hadoop's file system knows every scheme that Spark reads. A store behind a URL may show the file from its creation
    on (ABFS with a hierarchical namespace does), so whoever reads it must take one that is cut off for none.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    jvm = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(url)
    files = path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration())
    if files.getScheme() == "file":
        target = Path(path.toUri().getPath())
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{uuid.uuid4().hex}")
        staged.write_bytes(text)
        staged.replace(target)
        return
    stream = files.create(path, True)
    try:
        stream.write(bytearray(text))
    finally:
        stream.close()


def main() -> int:
    """Read the arguments, explore, write the result; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, help="URL of the Parquet table")
    parser.add_argument("--output", required=True, help="URL of the JSON file to write")
    parser.add_argument("--spec", required=True, help="JSON text, or a file that holds it")
    args = parser.parse_args()
    text = args.spec if args.spec.lstrip().startswith("{") else Path(args.spec).read_text(encoding="utf-8")
    spec = json.loads(text)
    spark = SparkSession.builder.appName("noria-explore").getOrCreate()
    try:
        document = explore(spark.read.parquet(args.input), spec)
    except QuestionError as error:
        write(spark, args.output, {"error": str(error)})
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    else:
        write(spark, args.output, {**document, "spark_version": spark.version})
        return 0
    finally:
        spark.stop()


if __name__ == "__main__":
    sys.exit(main())
