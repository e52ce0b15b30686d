"""Every type that an invoice's columns come in, and columns that nobody knows."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.costs import focus
from noria.costs.invoice_rows import Invoice, Part
from noria.errors import InputError
from tests.support.focus import MONEY, TYPES, charge

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)
START = datetime(2026, 3, 1, tzinfo=UTC)
TEXT, DOUBLE = pa.string(), pa.float64()


def invoice(
    folder: Path,
    *parts: Sequence[Mapping[str, Any]],
    types: Mapping[str, pa.DataType] | None = None,
    stands: pa.Schema | None = None,
) -> Invoice:
    files = []
    for number, rows in enumerate(parts):
        arrays = {k: pa.array([row[k] for row in rows], {**TYPES, **(types or {})}.get(k)) for k in rows[0]}
        files.append(Part(f"part {number}", folder / f"{number}.parquet", len(rows)))
        pq.write_table(pa.table(arrays), files[-1].file)
    return Invoice.open(files, DAY, NEXT, stands)


def rows_of(found: Invoice) -> list[dict[str, Any]]:
    return pa.Table.from_batches(list(found.batches("invoice"))).to_pylist()


AMOUNTS: dict[str, tuple[Any, pa.DataType, str]] = {
    "decimal": (Decimal("0.1"), MONEY, "0.1"),
    "a decimal of two digits": (Decimal("12.34"), pa.decimal128(10, 2), "12.34"),
    "a decimal of more digits": (Decimal("0.12345678901234567890"), pa.decimal128(38, 20), "0.123456789012345678"),
    "double": (0.1, DOUBLE, "0.1"),
    "a double of all its digits": (1234.000000000007, DOUBLE, "1234.000000000007"),
    "a double that is very small": (1e-21, DOUBLE, "0"),
    "a small double": (1.5e-7, DOUBLE, "0.00000015"),
    "float": (0.5, pa.float32(), "0.5"),
    "integer": (3, pa.int64(), "3"),
    "text": ("-1.25", TEXT, "-1.25"),
    "text with an exponent": ("1.5E-7", TEXT, "0.00000015"),
}


@pytest.mark.parametrize("kind", AMOUNTS)
def test_amounts(kind: str, tmp_path: Path) -> None:
    value, delivered, expected = AMOUNTS[kind]
    (row,) = rows_of(invoice(tmp_path, [charge(DAY, BilledCost=value)], types={"BilledCost": delivered}))
    assert row["BilledCost"] == Decimal(expected)


def test_no_amount_and_a_text_without_one(tmp_path: Path) -> None:
    charges = [charge(DAY, ListCost=text) for text in (None, "")]
    assert [row["ListCost"] for row in rows_of(invoice(tmp_path, charges, types={"ListCost": TEXT}))] == [None, None]


TIMES: dict[str, tuple[Any, pa.DataType]] = {
    "timestamp": (START, pa.timestamp("us", "UTC")),
    "nanoseconds": (START, pa.timestamp("ns", "UTC")),
    "milliseconds without a zone": (START.replace(tzinfo=None), pa.timestamp("ms")),
    "date": (DAY, pa.date32()),
    "1.0": ("2026-03-01T00:00Z", TEXT),
    "1.0r2": ("2026-03-01T00:00:00Z", TEXT),
    "another zone": ("2026-03-01T02:00:00+02:00", TEXT),
    "without a zone": ("2026-03-01 00:00:00", TEXT),
}


@pytest.mark.parametrize("kind", TIMES)
def test_times(kind: str, tmp_path: Path) -> None:
    value, delivered = TIMES[kind]
    (row,) = rows_of(invoice(tmp_path, [charge(DAY, ChargePeriodStart=value)], types={"ChargePeriodStart": delivered}))
    assert (row["ChargePeriodStart"], row[focus.DAY]) == (START, "2026-03-01")


def test_hours_of_a_day_are_of_that_day(tmp_path: Path) -> None:
    charges = [charge(DAY, ChargePeriodStart=START.replace(hour=hour)) for hour in (0, 23, 5)]
    assert [row[focus.DAY] for row in rows_of(invoice(tmp_path, charges))] == ["2026-03-01"] * 3


LABELS = {"noria:pipeline": "students", "noria:run": "r1", "noria:stage": "train"}
OWN = (focus.PIPELINE, focus.RUN, focus.STAGE)
TAGS: dict[str, tuple[str | None, str | None, tuple[str | None, ...]]] = {
    "an object": (json.dumps(LABELS), json.dumps(LABELS), ("students", "r1", "train")),
    "without braces": ('"noria:run": "r1","team": "é"', '{"noria:run": "r1", "team": "é"}', (None, "r1", None)),
    "written in capitals": ('{"Noria:Pipeline": "taxi"}', '{"Noria:Pipeline": "taxi"}', ("taxi", None, None)),
    "of others": ('{"team": "a"}', '{"team": "a"}', (None, None, None)),
    "empty": ("", "{}", (None, None, None)),
    "none": (None, None, (None, None, None)),
    "no JSON": ("team: a", "team: a", (None, None, None)),
}


@pytest.mark.parametrize("kind", TAGS)
def test_tags(kind: str, tmp_path: Path) -> None:
    delivered, kept, labels = TAGS[kind]
    (row,) = rows_of(invoice(tmp_path, [charge(DAY, Tags=delivered)], types={"Tags": TEXT}))
    assert row["Tags"] == kept and tuple(row[name] for name in OWN) == labels


def test_rows_keep_their_own_tags_in_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noria.costs.invoice_rows._BATCH_ROWS", 4)
    charges = [charge(DAY, Tags=json.dumps({"noria:run": f"r{n % 5}"}), ResourceId=f"m{n}") for n in range(11)]
    found = rows_of(invoice(tmp_path, charges))
    assert {row["ResourceId"]: row[focus.RUN] for row in found} == {f"m{n}": f"r{n % 5}" for n in range(11)}


def test_the_layout_is_that_of_the_table(tmp_path: Path) -> None:
    (batch,) = invoice(tmp_path, [charge(DAY)]).batches("invoice")
    plain = [pa.string() if pa.types.is_dictionary(kind) else kind for kind in batch.schema.types]
    assert (batch.schema.names, plain) == (focus.schema().names, focus.schema().types)
    assert batch.to_pylist()[0][focus.ORIGIN] == "invoice"


# Columns that nobody knows


def test_unknown_columns_are_kept(tmp_path: Path) -> None:
    """Numbers as decimals, times as times, all else as text; a part may lack them."""
    more = {"x_Text": "a", "x_Count": 3, "x_Usd": 1.1, "x_At": START.replace(tzinfo=None), "x_Yes": True}
    first, second = rows_of(invoice(tmp_path, [charge(DAY, **more)], [charge(DAY)]))
    kept = {**more, "x_Usd": Decimal("1.1"), "x_At": START}
    assert {name: first[name] for name in more} == kept
    assert {name: second[name] for name in more} == dict.fromkeys(more)


def test_an_unknown_column_keeps_the_type_that_the_table_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And is left empty where it cannot be had in that type; that is told, and in nobody's way."""
    stands = pa.schema([*focus.schema(), ("x_Rate", MONEY)])
    found = invoice(tmp_path, [charge(DAY, x_Rate="1.5")], [charge(DAY, x_Rate="much")], stands=stands)
    assert [row["x_Rate"] for row in rows_of(found)] == [Decimal("1.5"), None]
    assert "part 1: column x_Rate (string) has a value that is no amount" in caplog.text


def test_columns_that_cannot_be_kept_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    more = {"x_List": [1], "x with space": "a", "billedcost": "2", "x_ok": "b"}
    with caplog.at_level(logging.WARNING):
        found = invoice(tmp_path, [charge(DAY, **more)] * 3)
        assert found.more.names == ["x_ok"] and len(rows_of(found)) == 3
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [
        "x_List", "x with space", "billedcost"
    ]  # fmt: skip


# What cannot be used


@pytest.mark.parametrize("column", focus.REQUIRED)
def test_a_required_column_that_is_missing_is_named(column: str, tmp_path: Path) -> None:
    whole, lacking = charge(DAY), charge(DAY)
    del lacking[column]
    with pytest.raises(InputError, match=f"part 1 has no column {column}; expected the columns of FOCUS 1.0"):
        invoice(tmp_path, [whole], [lacking])


WRONG: dict[str, tuple[dict[str, Any], dict[str, pa.DataType], str]] = {
    "no number": ({"BilledCost": "much"}, {"BilledCost": TEXT}, "column BilledCost .* is no amount: .*much"),
    "not a number": ({"EffectiveCost": float("nan")}, {"EffectiveCost": DOUBLE}, "column EffectiveCost .* no amount"),
    "too large": ({"BilledCost": 1e25}, {"BilledCost": DOUBLE}, "column BilledCost .* no amount"),
    "no time": ({"ChargePeriodEnd": "soon"}, {"ChargePeriodEnd": TEXT}, "column ChargePeriodEnd .* no time: .*soon"),
    "no day": ({"ChargePeriodStart": None}, {}, "a row without ChargePeriodStart"),
    "a day before": ({"ChargePeriodStart": datetime(2026, 2, 28, 23, tzinfo=UTC)}, {}, "2026-02-28; expected days"),
    "a day after": ({"ChargePeriodStart": datetime(2026, 3, 3, tzinfo=UTC)}, {}, "2026-03-03; expected days from"),
}


@pytest.mark.parametrize("how", WRONG)
def test_values_that_cannot_be_understood(how: str, tmp_path: Path) -> None:
    changes, types, expected = WRONG[how]
    with pytest.raises(InputError, match=f"part 0: .*{expected}"):
        rows_of(invoice(tmp_path, [charge(DAY), charge(NEXT, **changes)][1:], types=types))
