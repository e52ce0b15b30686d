"""`noria bench ingest`, small."""

import json
from pathlib import Path

import pytest

from noria.cli import main
from noria.errors import ExitCode


def test_it_measures_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    assert main(["bench", "ingest", "--gb", "0.004", "--json"]) == ExitCode.OK
    result = json.loads(capfd.readouterr().out)
    assert result["bytes"] == pytest.approx(4e6, rel=0.01)
    assert result["small_bytes"] == pytest.approx(1e6, rel=0.01)
    assert 0 < result["copy_and_hash_seconds"] < result["seconds"]
    assert result["stage_seconds"] < result["seconds"]
    assert 50e6 < result["peak_rss_bytes"] < 500e6
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_size_that_is_none_or_too_large_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    assert main(["bench", "ingest", "--gb", "0"]) == ExitCode.BAD_INPUT
    assert "--gb 0" in capsys.readouterr().err
    assert main(["bench", "ingest", "--gb", "1e9"]) == ExitCode.FAILED
    assert "GB free" in capsys.readouterr().err
