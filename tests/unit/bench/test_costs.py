"""`noria bench costs`, small; and that its invoices are what a seed says."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noria.bench.costs_invoices import Month, deliver
from noria.cli import main
from noria.costs import focus
from noria.errors import ExitCode

KEYS = {"rows", "ingest_seconds", "report_seconds", "peak_rss_bytes"}


def test_it_measures_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    assert main(["bench", "costs", "--rows", "24", "--json"]) == ExitCode.OK
    result = json.loads(capfd.readouterr().out)
    assert result.keys() >= KEYS and (result["rows"], result["months"], result["columns"]) == (24, 12, 70)
    assert all(result[key] > 0 for key in KEYS) and 50e6 < result["peak_rss_bytes"] < 400e6
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_rows_that_are_none_or_too_many_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    assert main(["bench", "costs", "--rows", "0"]) == ExitCode.BAD_INPUT
    assert "--rows 0" in capsys.readouterr().err
    assert main(["bench", "costs", "--rows", "1000000000000"]) == ExitCode.FAILED
    assert "GB free" in capsys.readouterr().err


@pytest.mark.parametrize("doubles", [False, True])
def test_invoices_are_as_azure_delivers_them(doubles: bool, tmp_path: Path) -> None:
    """Some sixty columns, the 43 of FOCUS among them, amounts in the type that was asked for; a seed says all."""
    month = Month(date(2026, 2, 1), 500, seed=3, parts=2, doubles=doubles)
    first, second = (deliver(tmp_path / name, month, datetime(2026, 3, 3, tzinfo=UTC)) for name in "ab")
    assert first.read_text() == second.read_text() and "20260201-20260228" in str(first)
    parts = sorted(first.parent.glob("part_*.parquet"))
    assert [part.read_bytes() for part in parts] == [(second.parent / part.name).read_bytes() for part in parts]
    table = pa.concat_tables(pq.read_table(part) for part in parts)
    own = {*focus.OWN, *focus.FIGURES}
    assert table.num_rows == 500 and table.num_columns == 60 and {*focus.schema().names} - own <= {*table.schema.names}
    assert table.schema.field("BilledCost").type == (pa.float64() if doubles else pa.decimal128(38, 18))
    assert {start.date() for start in table["ChargePeriodStart"].to_pylist()} >= {date(2026, 2, d) for d in (1, 28)}
    assert sum(Decimal(str(cost)) for cost in table["BilledCost"].to_pylist()) > 100
