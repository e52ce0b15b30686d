"""The checked-in JSON Schema, and small rules of the models."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from noria.pipeline import Column, Csv, Expectation, json_schema, normalise_header

PIPELINES = Path(__file__).resolve().parents[3] / "include" / "pipelines"


def test_the_checked_in_schema_is_fresh() -> None:
    stored = (PIPELINES / "pipeline.schema.json").read_text(encoding="utf-8")
    assert stored == json.dumps(json_schema(), indent=2) + "\n", "stale; write it anew with `make schema`"


def test_editors_accept_the_shipped_pipelines_and_mark_mistakes() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for spec in PIPELINES.glob("*/pipeline.yaml"):
        text = spec.read_text(encoding="utf-8")
        assert text.startswith("# yaml-language-server: $schema=../pipeline.schema.json\n")
        document = YAML(typ="safe").load(text)
        assert not list(validator.iter_errors(document))
        assert list(validator.iter_errors({**document, "targt": "x"}))
        assert list(validator.iter_errors({**document, "tuning": {"trials": "many"}}))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " "])
def test_a_delimiter_is_kept_as_it_is(delimiter: str) -> None:
    assert Csv(delimiter=delimiter).delimiter == delimiter


def test_integer_values_are_integers() -> None:
    assert Column(name="flag", type="integer", values=(0, 1)).values == (0, 1)
    with pytest.raises(ValueError, match="of type integer and lists the value 'x'"):
        Column(name="flag", type="integer", values=(0, "x"))


def test_an_expectation_knows_the_columns_it_names() -> None:
    pair = Expectation(expect="expect_column_pair_values_to_be_equal", args={"column_A": "a", "column_B": "b"})
    assert pair.columns == ("a", "b")
    several = Expectation(expect="expect_compound_columns_to_be_unique", args={"column_list": ["a", "c"]})
    assert several.columns == ("a", "c")


@pytest.mark.parametrize(
    "header", ["math score", "Math Score ", '"math score"', "\ufeffmath score", "math_score", "MATH-SCORE"]
)
def test_headers_that_mean_the_same_are_the_same(header: str) -> None:
    assert normalise_header(header) == "math_score"
