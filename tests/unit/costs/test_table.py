"""The table of costs: what stands for a day, how it came to be, and that other programs read it as FOCUS."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from noria.costs import focus
from noria.costs.table import CostTable
from noria.lake import open_lake

DAYS = [date(2026, 3, day) for day in range(1, 8)]
AT = datetime(2026, 3, 9, 1, 2, 3, 456789, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def table(tmp_path: Path) -> CostTable:
    return CostTable(open_lake(str(tmp_path / "lake")), tmp_path / "tmp")


def rows(origin: str, *charges: tuple[date, str, str]) -> list[pa.RecordBatch]:
    """A batch of charges: day, amount, currency."""
    given = [
        {focus.DAY: str(day), focus.ORIGIN: origin, "BilledCost": Decimal(cost), "BillingCurrency": currency}
        for day, cost, currency in charges
    ]
    return [pa.RecordBatch.from_pylist(given, schema=focus.schema())]


def put(table: CostTable, origin: str, days: Sequence[date], cost: str, at: datetime) -> list[date]:
    batches = rows(origin, *((day, cost, "EUR") for day in days))
    return table.replace_days(days, batches, origin=origin, submitted_at=at, reason=f"{origin} of {cost}")


def told(table: CostTable) -> dict[date, tuple[str, str]]:
    found = table.read(DAYS[0], DAYS[-1] + timedelta(days=1), [focus.DAY, focus.ORIGIN, "BilledCost"]).to_pylist()
    assert len({row[focus.DAY] for row in found}) == len(found), "no day is counted twice"
    return {
        date.fromisoformat(row[focus.DAY]): (row[focus.ORIGIN], f"{row['BilledCost']:.2f}") for row in found
    }  # fmt: skip


def test_before_the_first_night(table: CostTable) -> None:
    empty = table.read(DAYS[0], DAYS[1])
    assert empty.num_rows == 0 and empty.schema.equals(focus.schema())
    assert table.read(DAYS[0], DAYS[1], ["BilledCost"]).schema.names == ["BilledCost"]
    assert table.submitted(DAYS) == table.invoiced_days() == {}
    assert table.history() == [] and table.columns() is None


def test_an_invoice_takes_the_place_of_estimates_and_never_the_other_way_round(table: CostTable) -> None:
    assert put(table, "metering", DAYS[:3], "1", AT) == DAYS[:3]
    assert put(table, "invoice", DAYS[1:2], "2", AT - 5 * HOUR) == DAYS[1:2], "though it was submitted earlier"
    assert put(table, "metering", DAYS[:4], "3", AT + HOUR) == [DAYS[0], DAYS[2], DAYS[3]]
    assert put(table, "query", DAYS[2:3], "4", AT) == DAYS[2:3]
    assert put(table, "invoice", DAYS[2:3], "5", AT - HOUR) == [], "older than the answer to the query"
    assert told(table) == {
        DAYS[0]: ("metering", "3.00"), DAYS[1]: ("invoice", "2.00"), DAYS[2]: ("query", "4.00"),
        DAYS[3]: ("metering", "3.00"),
    }  # fmt: skip
    cut = timedelta(microseconds=789)
    assert table.submitted(DAYS) == {
        DAYS[0]: AT + HOUR - cut, DAYS[1]: AT - 5 * HOUR - cut, DAYS[2]: AT - cut, DAYS[3]: AT + HOUR - cut
    }  # fmt: skip
    assert table.invoiced_days() == {DAYS[1]: AT - 5 * HOUR - cut, DAYS[2]: AT - cut}


def test_an_invoice_of_nothing_takes_the_estimate_away(table: CostTable) -> None:
    put(table, "metering", DAYS[:2], "1", AT)
    assert table.replace_days(DAYS[:1], [], origin="invoice", submitted_at=AT, reason="nothing") == DAYS[:1]
    assert told(table) == {DAYS[1]: ("metering", "1.00")}
    assert put(table, "metering", DAYS[:1], "2", AT + HOUR) == [], "and no estimate comes back"


def test_rows_are_not_asked_for_where_nothing_is_to_be_written(table: CostTable) -> None:
    put(table, "invoice", DAYS[:1], "1", AT)

    def never() -> object:
        raise AssertionError("asked")
        yield

    done = table.replace_days(DAYS[:1], never(), origin="invoice", submitted_at=AT, reason="again")  # type: ignore[arg-type]
    assert done == []


def test_the_history_tells_what_was_restated(table: CostTable) -> None:
    """And Delta's time travel reads it as it was."""
    mixed = rows("invoice", (DAYS[0], "0.1", "EUR"), (DAYS[0], "0.2", "EUR"), (DAYS[1], "5", "USD"))
    put(table, "metering", DAYS[:2], "1", AT)
    table.replace_days(DAYS[:2], mixed, origin="invoice", submitted_at=AT, reason="delivered as x")
    table.replace_days(
        DAYS[1:3], rows("invoice", (DAYS[1], "4", "USD")), origin="invoice", submitted_at=AT + HOUR, reason="restated"
    )
    first, second, third = table.history()
    assert (first.origin, first.before, first.after) == ("metering", {}, {"EUR": 2})
    assert (second.before, second.after) == ({"EUR": 2}, {"EUR": Decimal("0.3"), "USD": 5})
    assert (third.days, third.reason, third.before, third.after) == (
        tuple(DAYS[1:3]), "restated", {"USD": 5}, {"USD": 4}
    )  # fmt: skip
    assert third.at - datetime.now(UTC) < timedelta(minutes=1)
    before = DeltaTable(table.url, version=second.version).to_pyarrow_table()
    assert sorted(before["BilledCost"].to_pylist()) == [Decimal("0.1"), Decimal("0.2"), 5]


def test_a_table_of_an_earlier_release_has_no_values_in_columns_that_came_later(
    table: CostTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = focus.schema()
    with monkeypatch.context() as patch:
        patch.setattr(focus, "schema", lambda: whole.remove(whole.get_field_index(focus.MACHINE)))
        put(table, "metering", DAYS[:1], "1", AT)
    assert table.read(DAYS[0], DAYS[1], [focus.MACHINE, "BilledCost"]).to_pylist() == [
        {focus.MACHINE: None, "BilledCost": 1}
    ]
    put(table, "metering", DAYS[1:2], "1", AT)
    assert set(table.read(DAYS[0], DAYS[2]).schema.names) == set(whole.names)


# Other programs


def test_its_columns_are_those_of_focus(table: CostTable) -> None:
    """As another reader of Delta sees them, without the library: protocol 1, no features, plain types."""
    put(table, "invoice", DAYS[:2], "1.23", AT)
    found = DeltaTable(table.url)
    assert (found.protocol().min_reader_version, found.protocol().reader_features) == (1, None)
    assert found.metadata().partition_columns == [focus.DAY, focus.ORIGIN]
    assert "delta.appendOnly" not in found.metadata().configuration
    types = {field["name"]: field["type"] for field in json.loads(found.schema().to_json())["fields"]}
    assert len(set(types) - {*focus.OWN, *focus.FIGURES}) == 43, "FOCUS 1.0 has 43 columns"
    assert {types[name] for name in focus.DECIMALS} == {"decimal(38,18)"}
    assert {types[name] for name in focus.TIMES} == {"timestamp"}
    assert {types[name] for name in (*focus.TEXTS, *focus.OWN)} == {"string"}


def test_its_files_are_plain_parquet(table: CostTable, tmp_path: Path) -> None:
    """A partition's columns stand in the path alone, as Hive, Spark and Synapse SQL expect them."""
    put(table, "invoice", DAYS[:1], "1.23", AT)
    (file,) = (tmp_path / "lake" / "costs").rglob("part-*.parquet")
    assert file.parent.relative_to(tmp_path / "lake").as_posix() == "costs/x_ChargeDay=2026-03-01/x_Origin=invoice"
    schema = pq.read_schema(file)
    expected = [name for name in focus.schema().names if name not in (focus.DAY, focus.ORIGIN)]
    assert schema.names == expected and not schema.metadata
    assert schema.field("BilledCost").type == pa.decimal128(38, 18)
    assert pq.ParquetFile(file).metadata.row_group(0).column(0).compression == "SNAPPY"
