"""A wrong pipeline.yaml is told with file, line and key, every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.errors import ExitCode, InputError, SpecError
from noria.pipeline import Pipeline, find_pipelines, load_pipeline, load_spec

STUDENTS = Path(__file__).resolve().parents[3] / "include" / "pipelines" / "students" / "pipeline.yaml"
SOUND = """\
name: heights
description: Predicts heights.
owner: someone
source:
  kind: file
  path: heights.csv
columns:
  - name: age
    type: integer
    range: { min: 0, max: 120 }
  - name: sex
    type: category
    values: [f, m]
  - name: height
    type: number
    aliases: [Height (cm)]
task: regression
target: height
features: [age, sex]
estimators:
  - kind: ridge
    search:
      alpha: { low: 0.1, high: 10, log: true }
metrics: [r2, mae]
expectations:
  - expect: expect_column_mean_to_be_between
    args: { column: age, min_value: 1 }
gate:
  thresholds:
    - { metric: r2, min: 0.5 }
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "heights" / "pipeline.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, **arguments: object) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(path, **arguments)  # type: ignore[arg-type]
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    return str(caught.value)


def test_the_shipped_pipeline_and_the_sound_example_are_read(tmp_path: Path) -> None:
    assert load_spec(STUDENTS).primary_metric == "r2"
    pipeline = load_spec(write(tmp_path, SOUND))
    assert isinstance(pipeline, Pipeline)
    assert pipeline.column("sex").values == ("f", "m")
    assert pipeline.tuning.trials == 24


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        # unknown keys
        ("gate:", "gat:", 28, "gat: unknown key; did you mean 'gate'?"),
        ("    range:", "    rang:", 10, "columns.0.rang: unknown key; did you mean 'range'?"),
        ("path: heights.csv", "path: heights.csv\n  rows: 3", 7, "source.rows: unknown key"),
        # wrong types and values
        ("owner: someone", "owner: [a]", 3, "owner: got a list of 1; expected text"),
        ("owner: someone\n", "", 1, "owner: the key is missing"),
        ("max: 120", "max: high", 10, "columns.0.range.max: got 'high'; expected a number"),
        ("type: integer", "type: int", 9, "did you mean 'integer'?"),
        ("kind: file", "kind: fille", 4, "source: kind: got 'fille'; expected one of"),
        ("  kind: file\n", "", 4, "source: got no kind; expected kind: sample, file, https or github"),
        ("values: [f, m]", "values: [f, [m]]", 13, "columns.1.values.1: got a list of 1; expected a single value"),
        (
            "alpha: { low: 0.1, high: 10, log: true }",
            "alpha: 3",
            23,
            "got 3; expected keys with values below it (low, high, step, log, integer, choices)",
        ),
        ("gate:\n", "tuning:\n  trials: 0\ngate:\n", 29, "tuning.trials: got 0; expected greater than or equal to 1"),
        (
            "[f, m]",
            "[f, 1.50]",
            13,
            "columns.1.values: YAML reads 1.5 as no text; write it in quotes, just as the data",
        ),
        ("[f, m]", "[true, false]", 13, "columns.1.values: YAML reads true as no text; write it in quotes"),
        ("[f, m]", "[007, 008]", 13, "write it in quotes, just as the data has it"),
        ("metrics: [r2, mae]", "metrics: []", 24, "metrics: got a list of 0; expected at least 1"),
        ("metrics: [r2, mae]", "metrics: [r2, mse]", 24, "metrics.1: got 'mse'; expected"),
        ("name: age", "name: Age", 8, "got 'Age'; expected a small letter"),
        ("owner: someone", "owner: someone\nschedule: tomorrow", 4, "'tomorrow' is no schedule; expected five cron"),
        (
            "owner: someone",
            "owner: someone\nalerts: { emails: [nobody] }",
            4,
            "got 'nobody'; expected one mail address",
        ),
        # contradictions
        ("target: height", "target: hight", 18, "target: 'hight' is not among the columns (age, sex, height)"),
        ("type: number", "type: string", 18, "target: 'height' is of type string; regression needs"),
        ("features: [age, sex]", "features:\n  - age\n  - sx", 21, "features.1: 'sx' is not among the columns"),
        ("features: [age, sex]", "features: [age, height]", 19, "'height' is the target and cannot be a feature"),
        ("features: [age, sex]", "features: [age, age]", 19, "features.1: 'age' stands twice"),
        ("min: 0, max: 120", "min: 9, max: 2", 10, "columns.0.range: min 9.0 is greater than max 2.0"),
        ("    values: [f, m]", "    range: { min: 1 }", 11, "'sex' is of type category and cannot have a range"),
        ("values: [f, m]", "values: [f, f]", 11, "lists the value 'f' twice"),
        ("low: 0.1, high: 10", "low: 0, high: 10", 23, "a logarithmic dimension needs low > 0"),
        ("log: true }", "log: true, step: 1 }", 23, "either logarithmic or has a step"),
        ("    search:", "    params: { alpha: 1 }\n    search:", 21, "'alpha' is fixed under params and searched"),
        ("type: number", "type: number\n    nullable: true", 16, "is the target and cannot be nullable"),
        ("[Height (cm)]", "[Height (cm), AGE]", 16, "'AGE' already means the column 'age'"),
        ("metrics: [r2, mae]", "metrics: [r2, accuracy]", 24, "'accuracy' is for classification"),
        ("metric: r2, min", "metric: rmse, max", 30, "'rmse' is not among the metrics (r2, mae)"),
        ("min: 0.5", "min: 0.5, max: 1", 30, "a threshold needs either min or max"),
        ("column: age", "column: agee", 27, "expectations.0.args: 'agee' is not among the columns"),
        ("type: category\n    values: [f, m]", "type: date", 18, "'sex' is of type date; models take"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in SOUND
    path = write(tmp_path, SOUND.replace(old, new, 1))
    said = refusal(path)
    assert message in said
    assert said.startswith(f"{path}:{line}: "), said
    assert "\n" not in said, "one mistake, one line"


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = SOUND.replace("owner: someone", "ownr: someone").replace("type: integer", "type: int")
    text = text.replace("min: 0.5", "mni: 0.5")
    lines = refusal(write(tmp_path, text)).splitlines()
    assert [line.split(":")[1] for line in lines] == ["1", "3", "9", "30"]


def test_contradictions_are_told_beside_each_other_and_beside_unknown_keys(tmp_path: Path) -> None:
    text = SOUND.replace("target: height", "target: hight").replace("[age, sex]", "[age, sx]")
    lines = refusal(write(tmp_path, text + "colour: red\n")).splitlines()
    assert [line.split(":")[1] for line in lines] == ["18", "19", "31"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (SOUND + "name: again\n", 31, "name: the key stands twice; expected each key once"),
        (SOUND.replace("type: integer", "type: integer\n    type: number"), 10, "type: the key stands twice"),
        ("name: [a\nowner: b\n", 2, "not valid YAML"),
        ("- a\n- b\n", 1, "not a mapping; expected keys such as name"),
        ("", 1, "not a mapping"),
        (SOUND.replace("name: heights", "name: noria"), 1, "name: 'noria' is reserved: what the nightly cost export"),
        (SOUND.replace("name: heights", "name: costs"), 1, "name: 'costs' is reserved"),
        (SOUND.replace("name: heights", "name: weights"), 1, "name: 'weights'; expected the folder's name 'heights'"),
    ],
)
def test_bad_yaml_is_told_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, text)
    said = refusal(path)
    assert message in said
    assert said.startswith(f"{path}:{line}: "), said


def test_whole_numbers_among_the_values_of_a_text_are_texts(tmp_path: Path) -> None:
    text = SOUND.replace("[f, m]", '[2, 3, "5more", 2024-13-45]')
    assert load_spec(write(tmp_path, text)).column("sex").values == ("2", "3", "5more", "2024-13-45")
    numbers = text.replace("category", "integer").replace(', "5more", 2024-13-45', "")
    assert load_spec(write(tmp_path, numbers)).column("sex").values == (2, 3)
    twice = load_spec(write(tmp_path, SOUND), {"columns.1.values": "[1, f]"})
    assert twice.column("sex").values == ("1", "f")


@pytest.mark.parametrize("date", ["2024-13-45", "2024-01-31", "2024-01-31T25:00:00Z"])
def test_what_looks_like_a_date_is_text(tmp_path: Path, date: str) -> None:
    path = write(tmp_path, SOUND.replace("Predicts heights.", date))
    assert load_spec(path).description == date
    assert load_spec(write(tmp_path, SOUND), {"description": date}).description == date


def test_a_name_that_is_too_long_for_file_names_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND.replace("heights", "h" * 101, 1))
    assert f"{path}:1: name: got " in refusal(path)
    assert "at most 100 characters" in refusal(path)


def test_a_file_that_is_no_text_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    path.write_bytes(b"name: \xff\xfe")
    assert "not valid YAML" in refusal(path)
    path.write_text("name: !!int many")
    assert f"{path}: not valid YAML" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "cannot be read: Is a directory" in refusal(path)


# --set and --source


def test_an_override_is_of_one_reading_only(tmp_path: Path) -> None:
    """What was read is kept, and given out as it is where nothing is overridden."""
    file = write(tmp_path, SOUND)
    before = load_spec(file)
    assert load_spec(file, {"seed": str(before.seed + 1)}).seed == before.seed + 1
    assert load_spec(file) == before


def test_overrides_reach_sections_lists_and_absent_sections(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND + "holdout:\n")
    changes = {"tuning.trials": "5", "holdout.share": "0.2", "columns.0.range.max": "99", "features": "[age]"}
    pipeline = load_spec(path, changes)
    assert pipeline.tuning.trials == 5
    assert pipeline.holdout.share == 0.2
    assert pipeline.columns[0].range and pipeline.columns[0].range.max == 99
    assert pipeline.features == ("age",)
    assert load_spec(write(tmp_path, SOUND), {"schedule": "null"}).schedule is None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tuning.trials", "many", "tuning.trials: got 'many'; expected a whole number (given on the command line"),
        ("tuning.trails", "5", "tuning.trails: unknown key; did you mean 'trials'? (given on the command line"),
        ("columns.7.type", "number", "--set columns.7.type=number: '7' in a list; expected a position from 0 to 2"),
        ("owner.name", "me", "--set owner.name=me: 'owner' has no keys below it"),
        ("features", "[age, x]", "features.1: 'x' is not among the columns (age, sex, height) (given on"),
        ("name", "other", "a pipeline is called like its folder"),
    ],
)
def test_a_bad_override_says_that_it_is_one(tmp_path: Path, key: str, value: str, message: str) -> None:
    path = write(tmp_path, SOUND)
    with pytest.raises(InputError) as caught:
        load_spec(path, {key: value})
    assert message in str(caught.value)
    assert str(path) not in str(caught.value)


def test_a_bad_source_says_that_it_was_given(tmp_path: Path) -> None:
    said = refusal(write(tmp_path, SOUND), source="sample://students?rows=none")
    assert said.startswith("source.rows: got 'none'; expected a whole number (given on the command line")


# Finding


def test_pipelines_are_found_by_folder_and_the_first_of_a_name_wins(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = write(tmp_path / "a", SOUND)
    (tmp_path / "b" / ".new-x").mkdir(parents=True)
    write(tmp_path / "b", SOUND)
    (tmp_path / "b" / ".new-x" / "pipeline.yaml").write_text(SOUND)
    assert find_pipelines([tmp_path / "a", tmp_path / "b", tmp_path / "none"]) == {"heights": first.parent}


def test_an_unknown_pipeline_lists_those_there_are_and_where(tmp_path: Path) -> None:
    write(tmp_path, SOUND)
    with pytest.raises(SpecError, match=r"no pipeline 'widths'; expected one of: heights.*NORIA_PIPELINES"):
        load_pipeline("widths", [tmp_path])
