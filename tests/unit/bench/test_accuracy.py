"""`noria bench accuracy`, small."""

import json
from pathlib import Path

import pytest

from noria.bench import accuracy
from noria.cli import main
from noria.errors import ExitCode


@pytest.mark.slow
def test_it_measures_pairs_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path))
    monkeypatch.setattr(accuracy, "_QUICK_TRIALS", 5)  # how well they do is not asked
    source = "sample://students?rows=150"
    assert main(["bench", "accuracy", "--quick", "--salts", "2", "--source", source, "--json"]) == ExitCode.OK
    said = capfd.readouterr()
    result = json.loads(said.out)
    assert (result["rows"], result["holdouts"], sum(result["chosen"].values())) == (150, 2, 2)
    for metric in ("r2", "mae"):
        linear, candidate = result[f"linear_{metric}_mean"], result[f"candidate_{metric}_mean"]
        assert result[f"difference_{metric}_mean"] == pytest.approx(candidate - linear, abs=2e-5)
        assert result[f"linear_{metric}_sd"] > 0
    assert 0.6 < result["linear_r2_mean"] < 1
    assert "holdout 1 of 2: " in said.err and "holdout 2 of 2: " in said.err
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]
