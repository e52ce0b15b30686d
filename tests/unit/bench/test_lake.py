"""`noria bench lake`, small, on the twin."""

import json
from pathlib import Path

import pytest

from noria.azure import LAKE
from noria.cli import main
from noria.errors import ExitCode
from noria.lake import open_lake
from tests.azure.twin.client import Twin


@pytest.mark.slow
def test_it_measures_and_leaves_nothing(
    twin: Twin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setenv("NORIA_LAKE_URL", url := twin.lake_url())
    assert main(["bench", "lake", "--mb", "2", "--repeats", "2", "--json"]) == ExitCode.OK
    result = json.loads(capfd.readouterr().out)
    assert (result["bytes"], result["repeats"]) == (2_000_000, 2)
    for ours, theirs, ratio in (("lake_put", "adlfs_put", "put_ratio"), ("lake_local", "adlfs_get", "local_ratio")):
        means = [result[f"{name}_bytes_per_second"]["mean"] for name in (ours, theirs)]
        assert result[ratio] == pytest.approx(means[0] / means[1], abs=0.01)
        assert result[f"{ours}_bytes_per_second"]["sd"] >= 0
    sent = [seen for seen in twin.requests("storage", "PUT") if seen.bytes_in == 2_000_000]
    assert len(sent) == 2 * (1 + 2)
    assert list(open_lake(url, twin.connection(LAKE)).list("")) == []
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    ("lake", "options", "said"),
    [
        ("var/lake", [], "NORIA_LAKE_URL=abfss://"),
        ("abfss://lake@noria.dfs.core.windows.net", ["--mb", "0"], "at least 1 MB"),
        ("abfss://lake@noria.dfs.core.windows.net", ["--repeats", "1"], "2 repeats"),
    ],
)
def test_what_cannot_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lake: str, options: list[str], said: str
) -> None:
    monkeypatch.setenv("NORIA_LAKE_URL", lake)
    assert main(["bench", "lake", *options]) == ExitCode.BAD_INPUT
    assert said in capsys.readouterr().err
