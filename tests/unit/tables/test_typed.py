"""CSV files of all kinds become typed tables, with what does not fit in quarantine."""

import csv
import random
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.errors import SourceError
from noria.pipeline import Column, Csv
from noria.tables import TypedTable, type_table, typing_fingerprint
from noria.tables import reader as reader_module
from tests.support.reference import reference

PUPILS = (
    Column(name="group", type="category", values=("A", "B"), aliases=("race/ethnicity",)),
    Column(name="math_score", type="integer", unit="points", range={"min": 0, "max": 100}, aliases=("math score",)),
    Column(name="height", type="number", unit="m", nullable=True),
)


class Typed:
    """A table and its quarantine, read back."""

    def __init__(self, folder: Path, text: bytes | str, columns: tuple[Column, ...] = PUPILS, **settings: Any) -> None:
        source = folder / "in.csv"
        source.write_bytes(text.encode() if isinstance(text, str) else text)
        self.result: TypedTable = type_table(source, Csv(**settings), columns, folder / "t.parquet", folder / "q.csv")
        self.table = pq.read_table(folder / "t.parquet")
        self.rows = [tuple(r.values()) for r in self.table.to_pylist()]
        self.quarantine: list[tuple[int, str, str, str]] = []
        if self.result.quarantine:
            with self.result.quarantine.open(newline="", encoding="utf-8") as file:
                self.quarantine = [(int(r["row"]), r["column"], r["value"], r["reason"]) for r in csv.DictReader(file)]


def test_a_plain_table(tmp_path: Path) -> None:
    typed = Typed(tmp_path, "group,math_score,height\nA,72,1.5\nB,0,\n")
    assert typed.rows == [("A", 72, 1.5), ("B", 0, None)]
    assert typed.result == TypedTable(2, 0, {}, (), None)
    field = typed.table.schema.field("math_score")
    assert field.type == pa.int64()
    assert not field.nullable
    assert field.metadata[b"unit"] == b"points"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("group,math_score,height \nA,72,1.5\n", id="trailing space"),
        pytest.param("Race/Ethnicity,Math Score,HEIGHT\nA,72,1.5\n", id="case and aliases"),
        pytest.param('"race/ethnicity","math score","height"\n"A","72","1.5"\n', id="quotes"),
        pytest.param("group,math_score,height\r\nA,72,1.5\r\n", id="CRLF"),
        pytest.param("\ufeffgroup,math_score,height\nA,72,1.5\n", id="BOM"),
        pytest.param('\ufeff"group","math_score","height"\r\nA,72,1.5', id="BOM, quotes, CRLF, no last line break"),
        pytest.param("height,group,math_score\n1.5,A,72\n", id="other order"),
        pytest.param("\n\ngroup,math_score,height\n\nA,72,1.5\n\n", id="blank lines"),
        pytest.param("group,math_score,height\n A , 72 , 1.5 \n", id="spaces around values"),
        pytest.param("group,math_score,height\nA,72.0,1.5e0\n", id="whole numbers with a point"),
        pytest.param("group,math_score,height\rA,72,1.5\r", id="old Mac line breaks"),
    ],
)
def test_forms_of_the_same_table(tmp_path: Path, text: str) -> None:
    typed = Typed(tmp_path, text)
    assert typed.rows == [("A", 72, 1.5)]
    assert not typed.quarantine


def test_another_delimiter(tmp_path: Path) -> None:
    assert Typed(tmp_path, "group;math_score;height\nA;72;1.5\n", delimiter=";").rows == [("A", 72, 1.5)]


def test_extra_columns_are_left_out_and_named(tmp_path: Path) -> None:
    typed = Typed(tmp_path, "id,group,math_score,height,\n7,A,72,1.5,x\n")
    assert typed.rows == [("A", 72, 1.5)]
    assert typed.result.extra_columns == ("id", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "the file is empty", id="empty"),
        pytest.param("\n\n", "the file is empty", id="blank"),
        pytest.param("\ufeff", "the file is empty", id="BOM alone"),
        pytest.param("group,math_score,height\n", "has a header and no rows", id="header alone"),
        pytest.param("group,math_score,height", "has a header and no rows", id="header without line break"),
        pytest.param(
            "group,maths_score,height\nA,72,1\n",
            r"column 'math_score' missing; the headers are 'group', 'maths_score', 'height'.*"
            r"'maths_score' looks like 'math_score': add it under `aliases:`",
            id="missing column",
        ),
        pytest.param("group\nA\n", r"columns 'math_score', 'height' missing", id="missing columns"),
        pytest.param("group;math_score;height\nA;72;1\n", r"csv\.delimiter", id="wrong delimiter"),
        pytest.param(
            "group,race/ethnicity,math_score,height\nA,A,1,1\n", "'group' and 'race/ethnicity' both mean", id="twice"
        ),
        pytest.param(b"gr\xffp,math_score,height\nA,1,1\n", "header line is not UTF-8", id="header not UTF-8"),
        pytest.param("group,math_score,height\nA,1,1\n".encode("utf-16"), "UTF-16", id="UTF-16"),
        pytest.param(b"PAR1\0\0\0\0", "the file is Parquet", id="Parquet"),
        pytest.param(b"\x1f\x8b\x08\x00abc", "the file is gzip", id="gzip"),
        pytest.param(b"a\0b\0c", "zero bytes", id="binary"),
    ],
)
def test_files_that_are_no_such_table(tmp_path: Path, text: bytes | str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        Typed(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "column", "value", "reason"),
    [
        ("A,abc,1", "math_score", "abc", "not an integer"),
        ("A,72.5,1", "math_score", "72.5", "not an integer"),
        ("A,0x1F,1", "math_score", "0x1F", "not an integer"),
        ("A,99999999999999999999,1", "math_score", "99999999999999999999", "not an integer"),
        ("A,400,1", "math_score", "400", "above 100"),
        ("A,-1,1", "math_score", "-1", "below 0"),
        ("A,,1", "math_score", "", "missing"),
        ("A,NA,1", "math_score", "", "missing"),
        ("A, NA ,1", "math_score", " NA ", "missing"),
        ("C,50,1", "group", "C", "not an allowed value"),
        ("a,50,1", "group", "a", "not an allowed value"),
        ("A,50,inf", "height", "inf", "not a number"),
        ("A,50,nan", "height", "nan", "not a number"),
        ('A,50,"1,5"', "height", "1,5", "not a number"),
        ("A,50", "", "A,50", "too few fields"),
        ("A,50,1,2", "", "A,50,1,2", "too many fields"),
        ("A,50,1.\ufffd", "height", "1.\ufffd", "not UTF-8 text"),
    ],
)
def test_a_row_that_does_not_fit(tmp_path: Path, line: str, column: str, value: str, reason: str) -> None:
    text = "group,math_score,height\nA,1,1\nB,2,\n" + line + "\nA,4,4\n"
    typed = Typed(tmp_path, text.encode().replace("\ufffd".encode(), b"\xff"))
    assert typed.quarantine == [(3, column, value, reason)]
    assert [r[1] for r in typed.rows] == [1, 2, 4]
    assert typed.result.quarantined_rows == 1
    assert typed.result.reasons == {f"{column or 'row'}: {reason}": 1}


def test_a_row_with_two_faults_is_one_row_and_two_lines(tmp_path: Path) -> None:
    typed = Typed(tmp_path, "group,math_score,height\nC,400,1\nA,400,1\nA,4,4\n")
    assert typed.quarantine == [
        (1, "group", "C", "not an allowed value"),
        (1, "math_score", "400", "above 100"),
        (2, "math_score", "400", "above 100"),
    ]
    assert (typed.result.rows, typed.result.quarantined_rows) == (1, 2)
    assert next(iter(typed.result.reasons.items())) == ("math_score: above 100", 2)


def test_a_quote_that_is_not_closed_does_not_lose_rows_silently(tmp_path: Path) -> None:
    lines = ["A,1,1"] * 4 + ['A,"5,1'] + ["A,1,1"] * 95
    typed = Typed(tmp_path, "group,math_score,height\n" + "\n".join(lines) + "\n")
    assert typed.result.rows == 4
    assert typed.result.quarantined_rows >= 95
    assert "a quote is not closed" in next(iter(typed.result.reasons))


def test_a_quote_that_is_not_closed_in_a_large_file_is_an_error(tmp_path: Path) -> None:
    text = "group,math_score,height\n" + "A,1,1\n" * 200_000 + 'A,"5,1\n' + "A,1,1\n" * 400_000
    with pytest.raises(SourceError, match=r"after data row \d+ .*quotation mark"):
        Typed(tmp_path, text)


def test_text_keeps_line_breaks_delimiters_and_umlauts(tmp_path: Path) -> None:
    columns = (Column(name="note", type="string", nullable=True), Column(name="n", type="integer"))
    typed = Typed(tmp_path, 'note,n\n"zwei\nZeilen, ""so""",1\nGrüße ✓,2\n"",3\n', columns)
    assert typed.rows == [('zwei\nZeilen, "so"', 1), ("Grüße ✓", 2), (None, 3)]


def test_rows_in_latin_1_go_to_quarantine_and_the_others_stay(tmp_path: Path) -> None:
    columns = (Column(name="note", type="string"), Column(name="n", type="integer"))
    text = b"note,n\nplain,1\n" + "Größe,2\n".encode("latin-1") + "Größe,3\n".encode()
    typed = Typed(tmp_path, text, columns)
    assert typed.rows == [("plain", 1), ("Größe", 3)]
    assert typed.quarantine == [(2, "note", "Gr\ufffd\ufffde", "not UTF-8 text")]


def test_dates_times_and_truths(tmp_path: Path) -> None:
    columns = (
        Column(name="day", type="date"),
        Column(name="at", type="datetime", nullable=True),
        Column(name="ok", type="boolean"),
    )
    text = (
        "day,at,ok\n2026-02-28,2026-02-28T10:00:00,true\n2026-02-31,2026-01-01 00:00:00,false\n"
        "2026-03-01,2026-02-28T10:00:00+02:00,No\n2026-03-01,tomorrow,1\n2026-03-02,,0\n2026-03-02,,maybe\n01/02/2026,,0\n"
    )
    typed = Typed(tmp_path, text, columns)
    assert typed.rows == [
        (date(2026, 2, 28), datetime(2026, 2, 28, 10, tzinfo=UTC), True),
        (date(2026, 3, 1), datetime(2026, 2, 28, 8, tzinfo=UTC), False),
        (date(2026, 3, 2), None, False),
    ]
    assert [(q[0], q[1]) for q in sorted(typed.quarantine)] == [(2, "day"), (4, "at"), (6, "ok"), (7, "day")]


def test_integer_values_and_own_null_texts(tmp_path: Path) -> None:
    columns = (
        Column(name="country", type="category", values=("NA", "DE")),
        Column(name="level", type="integer", values=(1, 2), nullable=True),
    )
    typed = Typed(tmp_path, "country,level\nNA,1\nDE,NA\nDE,3\n-,2\n", columns, null_values=["NA", "-"])
    assert typed.rows == [("NA", 1), ("DE", None)]
    assert sorted(typed.quarantine) == [(3, "level", "3", "not an allowed value"), (4, "country", "", "missing")]


def test_nulls_may_stand_between_spaces(tmp_path: Path) -> None:
    typed = Typed(tmp_path, "group,math_score,height\nA,1, NA\nA,2,  \nA,3,x\n")
    assert typed.rows == [("A", 1, None), ("A", 2, None)]
    assert typed.quarantine == [(3, "height", "x", "not a number")]


def test_duplicate_rows_are_data(tmp_path: Path) -> None:
    assert Typed(tmp_path, "group,math_score,height\n" + "A,1,1\n" * 5).result.rows == 5


def test_row_numbers_hold_over_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "BLOCK_BYTES", 4096)
    rng = random.Random(5)
    lines = [rng.choice(["A,1,1", "A,1,1", "A,1", "B,400,", "A,2,3,4", "C,1,1"]) for _ in range(20_000)]
    typed = Typed(tmp_path, "group,math_score,height\n" + "\n".join(lines) + "\n")
    for row, column, value, _reason in typed.quarantine:
        fields = lines[row - 1].split(",")
        expected = {"": lines[row - 1], "group": fields[0], "math_score": fields[1]}[column]
        assert value == expected
    bad = {i + 1 for i, line in enumerate(lines) if line != "A,1,1"}
    assert {q[0] for q in typed.quarantine} == bad
    assert typed.result.quarantined_rows == len(bad)
    assert typed.result.rows == 20_000 - len(bad)


def test_a_file_of_another_shape_is_given_up_before_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "MOST_MALFORMED_ROWS", 1000)
    with pytest.raises(SourceError, match="another number of fields than the header"):
        Typed(tmp_path, "group,math_score,height\n" + "A\n" * 5000)


def test_fingerprint_changes_with_whatever_changes_the_table() -> None:
    base = typing_fingerprint(PUPILS, Csv())
    assert base == typing_fingerprint(PUPILS, Csv())
    assert base != typing_fingerprint(PUPILS, Csv(delimiter=";"))
    assert base != typing_fingerprint(PUPILS[:2], Csv())
    assert re.fullmatch(r"[0-9a-f]{64}", base)


@pytest.mark.parametrize(
    "name",
    [
        "students_performance_kaggle.csv",
        "students_performance_p109_trailing_space_header.csv",
        "students_performance_crlf_renamed_header.csv",
    ],
)
def test_the_students_files_that_go_around(tmp_path: Path, name: str) -> None:
    from noria.pipeline import load_pipeline
    from noria.settings import Settings

    pipeline = load_pipeline("students", Settings.from_env({}).pipelines)
    typed = Typed(tmp_path, reference(name).read_bytes(), pipeline.columns)
    assert typed.result == TypedTable(1000, 0, {}, (), None)
    assert typed.rows[0] == ("female", "group B", "bachelor's degree", "standard", "none", 72, 72, 74)
    assert sum(typed.table["math_score"].to_pylist()) == 66089
