"""`noria new`: from any CSV a folder that is read back and whose columns take every row of the file."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shlex
import string
from pathlib import Path
from typing import Any

import pytest

from noria.cli import main
from noria.errors import ExitCode
from noria.pipeline import Pipeline, load_spec
from noria.tables.typed import TypedTable, type_table
from tests.support.reference import reference


@pytest.fixture(autouse=True)
def pipelines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "pipelines"
    monkeypatch.setenv("NORIA_PIPELINES", str(folder))
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    return folder


def new(pipelines: Path, file: Path, *arguments: str, name: str = "mine") -> Pipeline:
    assert main(["new", name, "--from", str(file), *arguments]) == 0
    return load_spec(pipelines / name / "pipeline.yaml")


def ingest(pipeline: Pipeline, file: Path, tmp_path: Path) -> TypedTable:
    return type_table(file, pipeline.csv, pipeline.columns, tmp_path / "t.parquet", tmp_path / "q.csv")


def write(tmp_path: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def table(header: list[str], rows: list[list[Any]], delimiter: str = ",", end: str = "\n") -> str:
    lines = [delimiter.join(header), *(delimiter.join(map(str, row)) for row in rows)]
    return end.join(lines) + end


@pytest.mark.parametrize(
    ("file", "target", "task", "features", "rows"),
    [
        ("students_performance_kaggle.csv", "math score", "regression", 7, 1000),
        ("students_performance_p109_trailing_space_header.csv", "writing_score", "regression", 7, 1000),
        ("students_performance_crlf_renamed_header.csv", "math score", "regression", 7, 1000),
        ("diabetes_pima_kaggle_crlf.csv", "Outcome", "classification", 8, 768),
        ("diabetes_pima_kaggle_lf.csv", "outcome", "classification", 8, 768),
        ("pima_mlbench_PimaIndiansDiabetes2.csv", "diabetes", "classification", 8, 768),
        ("burger_king_menu.csv", "Weight Watchers", "regression", 12, 77),
        ("oj_long_11brands.csv", "quantity", "regression", 6, 106139),
        ("walmart45_weekly.csv", "Weekly_Sales", "regression", 6, 6435),
    ],
)
def test_real_files_become_pipelines_that_take_every_row(
    pipelines: Path, tmp_path: Path, file: str, target: str, task: str, features: int, rows: int
) -> None:
    path = reference(file)
    pipeline = new(pipelines, path, "--target", target)
    assert (pipeline.task, len(pipeline.features)) == (task, features)
    done = ingest(pipeline, path, tmp_path)
    assert (done.rows, done.quarantined_rows, done.extra_columns) == (rows, 0, ())
    assert "wrote this folder" in (pipelines / "mine" / "README.md").read_text(encoding="utf-8")


def test_what_is_suggested_for_a_small_table(pipelines: Path, tmp_path: Path) -> None:
    rows = [[i, 20 + i % 40, ["low", "high", ""][i % 3], f"name {i}", 7, i % 2, 3.5 * i] for i in range(60)]
    path = write(tmp_path, table(["No.", "Age (years)", "Level", "Name", "Const", "Flag", "Größe %"], rows))
    pipeline = new(pipelines, path, "--target", "Größe %")
    columns = {c.name: c for c in pipeline.columns}
    assert list(columns) == ["no", "age_years", "level", "name", "const", "flag", "grosse"]
    assert columns["level"].type == "category" and columns["level"].nullable
    assert columns["level"].values == ("high", "low")
    age = columns["age_years"].range
    assert age and (age.min, age.max) == (0, 98)
    assert pipeline.features == ("age_years", "level", "flag"), "row numbers, names and constants are left out"
    text = (pipelines / "mine" / "pipeline.yaml").read_text(encoding="utf-8")
    for reason in ("no is left out: numbers the rows", "name is left out: nearly every", "const is left out: the same"):
        assert reason in text
    assert pipeline.gate.thresholds[0].metric == "r2" and pipeline.gate.thresholds[0].min == 0
    critical = [e for e in pipeline.expectations if e.severity == "critical"]
    assert critical[0].args["min_value"] == 30, "half of the rows"
    assert ingest(pipeline, path, tmp_path).quarantined_rows == 0


def test_a_classification_must_beat_luck(pipelines: Path, tmp_path: Path) -> None:
    rows = [[i % 17, "yes" if i % 4 == 0 else "no"] for i in range(400)]
    pipeline = new(pipelines, write(tmp_path, table(["x", "bought"], rows)), "--target", "bought")
    threshold = pipeline.gate.thresholds[0]
    # 0.5 and two standard errors of the rank statistic with 30 and 90 holdout rows: sqrt(121 / (12 * 30 * 90))
    assert (threshold.metric, threshold.min) == ("roc_auc", 0.623)
    assert pipeline.column("bought").values == ("no", "yes")
    rows = [[i % 17, "abcde"[i % 5]] for i in range(400)]
    pipeline = new(pipelines, write(tmp_path, table(["x", "kind"], rows)), "--target", "kind", name="many")
    threshold = pipeline.gate.thresholds[0]
    assert threshold.metric == "balanced_accuracy" and threshold.min and 0.2 < threshold.min < 0.3


def test_slices_are_proposed_where_every_group_is_large_enough_to_be_judged(pipelines: Path, tmp_path: Path) -> None:
    rows = [[i % 17, "ab"[i % 2], "c" if i % 50 == 0 else "d", 3 * i % 7] for i in range(400)]
    path = write(tmp_path, table(["x", "large", "small", "y"], rows))
    new(pipelines, path, "--target", "y")
    spec = pipelines / "mine" / "pipeline.yaml"
    text = spec.read_text(encoding="utf-8")
    assert "  #   - { column: large, margin: 0.05 }\n" in text and "{ column: small, margin" not in text
    assert "min_rows" not in text
    commented = text.partition("\ngate:")[2]
    spec.write_text(text.replace(commented, re.sub(r"(?m)^  # ", "  ", commented)), encoding="utf-8")
    gate = load_spec(spec).gate  # every line that is commented out is right as it stands
    assert [s.column for s in gate.slices] == ["large"]
    assert gate.freshness and gate.approval and gate.limits.latency_milliseconds


def test_a_file_that_is_too_small_to_judge_by_is_told(
    pipelines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, table(["x", "y"], [[i % 9, 3 * i] for i in range(60)]))
    pipeline = new(pipelines, path, "--target", "y")
    assert pipeline.gate.min_rows == 30, "a gate that says nothing else"
    told = "the gate asks for 30 holdout rows, and this file gives about 18"
    assert told in capsys.readouterr().err
    assert told in (pipelines / "mine" / "pipeline.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_line_ends_quotes_and_bom(pipelines: Path, tmp_path: Path, delimiter: str, end: str) -> None:
    rows: list[list[Any]] = [[i, f'"a{delimiter}b ""{i % 3}"""', f'"two{end}lines"', i * 0.5] for i in range(30)]
    path = write(tmp_path, b"\xef\xbb\xbf" + table(['"id x"', "text", "more", "y"], rows, delimiter, end).encode())
    pipeline = new(pipelines, path, "--target", "y")
    assert pipeline.csv.delimiter == delimiter
    assert [c.name for c in pipeline.columns] == ["id_x", "text", "more", "y"]
    assert pipeline.column("text").values == tuple(f'a{delimiter}b "{i}"' for i in range(3))
    done = ingest(pipeline, path, tmp_path)
    assert (done.rows, done.quarantined_rows) == (30, 0)


def test_values_and_headers_that_are_awkward_in_yaml_and_sql(pipelines: Path, tmp_path: Path) -> None:
    awkward = ["yes", "no", "on", "~", "- a", "a: b", "#x", "{x}", "it's", 'say "hi"', "001", "1e3x", "🍔®", "\\n", "%"]
    headers = ["a: b #c", "order", "2nd", "select`", "{%raw%}", "y"]
    rows = [[awkward[i % len(awkward)], i % 4, i % 5, "x" if i % 2 else "y", i % 3, i] for i in range(150)]
    path = tmp_path / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([headers, *rows])
    pipeline = new(pipelines, path, "--target", "a: b #c")
    assert pipeline.columns[0].values == tuple(sorted(awkward))
    assert [c.name for c in pipeline.columns] == ["a_b_c", "order", "c_2nd", "select", "raw", "y"]
    done = ingest(pipeline, path, tmp_path)
    assert (done.rows, done.quarantined_rows, done.extra_columns) == (150, 0, ())


def test_random_tables_always_give_a_pipeline_that_takes_every_row(pipelines: Path, tmp_path: Path) -> None:
    """Whatever a column looks like, what is declared of it fits what was seen."""
    chance = random.Random(5)
    makers = [
        lambda: chance.randint(-5, 5),
        lambda: chance.choice(["", "NA", chance.random()]),
        lambda: chance.choice(["true", "FALSE", "True"]),
        lambda: f"20{chance.randint(10, 24)}-0{chance.randint(1, 9)}-1{chance.randint(0, 9)}",
        lambda: f"2024-05-0{chance.randint(1, 9)}T10:00:00Z",
        lambda: chance.choice(["1", "2.5", "-3e2", "+4", ".5"]),
        lambda: "".join(chance.choices(string.ascii_letters + " ;'#", k=6)),
        lambda: chance.choice(["", " ", "x ", " y"]),
        lambda: chance.randint(10**14, 10**16),
        lambda: "",
    ]
    for number in range(25):
        chosen = [chance.choice(makers) for _ in range(chance.randint(2, 6))]
        rows = [[*(make() for make in chosen), chance.gauss(0, 1), chance.randint(0, 9)] for _ in range(40)]
        path = tmp_path / f"{number}.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            header = [f"c{i}" for i in range(len(chosen))]
            csv.writer(stream).writerows([[*header, "goal", "extra"], *rows])
        pipeline = new(pipelines, path, "--target", "goal", name=f"random_{number}")
        done = ingest(pipeline, path, tmp_path)
        assert (done.rows, done.quarantined_rows) == (40, 0), done.reasons


def test_rows_without_a_target_are_quarantined_and_allowed_for(pipelines: Path, tmp_path: Path) -> None:
    rows = [[i % 9, "" if i % 5 == 0 else i * 2] for i in range(100)]
    path = write(tmp_path, table(["x", "y"], rows))
    pipeline = new(pipelines, path, "--target", "y")
    assert not pipeline.column("y").nullable
    assert pipeline.quarantine.max_share == 0.25
    assert ingest(pipeline, path, tmp_path).quarantined_rows == 20


def test_the_index_that_pandas_writes_is_passed_over(pipelines: Path, tmp_path: Path) -> None:
    path = write(tmp_path, table(["", "x", "y"], [[i, i % 5, i * 2] for i in range(50)]))
    pipeline = new(pipelines, path, "--target", "y")
    assert [c.name for c in pipeline.columns] == ["x", "y"]
    assert ingest(pipeline, path, tmp_path).quarantined_rows == 0


# Asking, answering, refusing


def test_json_is_one_object_and_the_next_command_is_named(
    pipelines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, table(["x", "y"], [[i % 5, i * 2] for i in range(50)]))
    elsewhere = tmp_path / "else where"
    assert main(["new", "mine", "--from", str(path), "--target", "y", "--into", str(elsewhere), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == str(elsewhere / "mine") and answer["task"] == "regression"
    assert shlex.split(answer["next"]) == [f"NORIA_PIPELINES={elsewhere}", "noria", "run", "mine"]


def test_without_target_and_terminal_the_columns_are_listed(
    pipelines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, table(["a", "price", "b"], [[i % 5, i * 2, i % 3] for i in range(50)]))
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert main(["new", "mine", "--from", str(path)]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert "one of the columns: a, price, b" in said and "--target price" in said
    assert not pipelines.exists()


@pytest.mark.parametrize(("answer", "target"), [("", "price"), ("3", "b"), ("a", "a")])
def test_the_target_is_asked_for_on_a_terminal(
    pipelines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, target: str
) -> None:
    path = write(tmp_path, table(["a", "price", "b"], [[i % 5, i * 2, i % 3] for i in range(60)]))
    controller, terminal = os.openpty()
    os.write(controller, f"{answer}\n".encode())
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        pipeline = new(pipelines, path)
    os.close(controller)
    assert pipeline.target == target


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; expected a header line and rows"),
        (b"  \n\n", "the file is empty"),
        (b"a,b\n", "a header and no rows"),
        (b"<!DOCTYPE html><html><body>x</body></html>", "a web page (HTML or XML)"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"PK\x03\x04rest", "a zip or Excel file"),
        (b"PAR1rest", "a Parquet file"),
        (b"a,b\n1,\x00\x01\n", "a binary file"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16 text; expected UTF-8. Convert it"),
        ("name,y\nZoë,1\nJosé,2\n".encode("latin-1"), ":2: bytes that are not UTF-8: b'Zo\\xeb,1\\n'"),
        (b"just some words\nand more\n", ":1: no table: the first line is 'just some words'"),
        (b"x\n1\n2\n", ":1: no table"),
        (b"a,A ,y\n1,2,3\n", "columns 1 and 2 are both called 'A '"),
        (b",y\n1,2\n", "1 named column"),
        (b"a,b\n" + b"1,2\n" * 100_000 + b"\xff,3\n", ":100002: bytes that are not UTF-8"),
    ],
)
def test_a_file_that_is_no_table_is_refused(
    pipelines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = write(tmp_path, content)
    assert main(["new", "mine", "--from", str(path), "--target", "y"]) == ExitCode.BAD_INPUT
    said = capsys.readouterr().err
    assert message in said and str(path) in said
    assert not pipelines.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", "--target", "z"], "no column 'z'; expected one of x, y, word, const. For example --target y"),
        (["mine", "--target", "const"], "target 'const' is constant"),
        (["mine", "--target", "word", "--task", "regression"], "holds string values; expected numbers"),
        (["mine", "--target", "y", "--task", "classification"], "has 60 different values; expected at most 20"),
        (["mine", "--target", "word"], "holds string values"),
        (["mine", "--target", "x", "--task", "classification"], "class '4' has 7 rows; expected at least 10"),
        (["Mine", "--target", "y"], "name 'Mine'; expected a small letter"),
        (["costs", "--target", "y"], "the name 'costs' is reserved: mails about all"),
        (["../mine", "--target", "y"], "name '../mine'"),
        (["students", "--target", "y"], "there is a pipeline 'students' in "),
    ],
)
def test_a_request_that_cannot_be_met_says_why(
    pipelines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    rows = [[min(i % 8, 5), i * 2, f"w{i}", 1] for i in range(60)]
    path = write(tmp_path, table(["x", "y", "word", "const"], rows))
    assert main(["new", arguments[0], "--from", str(path), *arguments[1:]]) == ExitCode.BAD_INPUT
    assert message in capsys.readouterr().err
    assert not pipelines.exists()


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, why in ((tmp_path / "no.csv", "No such file"), (tmp_path, "Is a directory")):
        assert main(["new", "mine", "--from", str(path), "--target", "y"]) == ExitCode.BAD_INPUT
        assert why in capsys.readouterr().err


def test_nothing_is_overwritten_and_nothing_half_written(
    pipelines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, table(["x", "y"], [[i % 5, i * 2] for i in range(50)]))
    new(pipelines, path, "--target", "y")
    before = (pipelines / "mine" / "pipeline.yaml").read_bytes()
    assert main(["new", "mine", "--from", str(path), "--target", "x"]) == ExitCode.BAD_INPUT
    assert "there is a pipeline 'mine'" in capsys.readouterr().err
    (pipelines / "empty").mkdir()
    assert main(["new", "empty", "--from", str(path), "--target", "x"]) == ExitCode.BAD_INPUT
    assert "exists" in capsys.readouterr().err
    assert (pipelines / "mine" / "pipeline.yaml").read_bytes() == before
    assert sorted(p.name for p in pipelines.iterdir()) == ["empty", "mine"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, table(["x", "y"], [[i % 5, i * 2] for i in range(50)]))
    assert main(["new", "mine", "--from", str(path), "--target", "y", "--into", str(path)]) == ExitCode.FAILED
    assert "cannot be written" in capsys.readouterr().err
