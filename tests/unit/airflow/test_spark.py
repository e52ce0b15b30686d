"""Spark jobs by connection, with real spark-submit."""

import json
import logging
from pathlib import Path

import pytest

from noria.airflow.spark import HookSpark, connected_spark, stage_log
from noria.compute.spark import LocalSpark
from noria.errors import JobError
from noria.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_env(home=tmp_path / "home")


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SPARK_DEFAULT", json.dumps({"conn_type": "spark", "host": "local[1]"}))


def test_without_a_connection_spark_runs_here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT", raising=False)
    assert isinstance(connected_spark(settings), LocalSpark)


@pytest.mark.usefixtures("connected")
def test_a_script_runs_where_the_connection_says(settings: Settings, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])")
    runner = connected_spark(settings)
    assert isinstance(runner, HookSpark)

    runner.submit(script, [str(tmp_path / "out"), "an argument with 'quotes'"])

    assert (tmp_path / "out").read_text() == "an argument with 'quotes'"


@pytest.mark.usefixtures("connected")
def test_a_script_that_fails_is_a_job_error_with_its_last_lines(settings: Settings, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("raise SystemExit('no such column: age')")
    with pytest.raises(JobError, match="no such column: age") as caught:
        connected_spark(settings).submit(script, [])
    assert str(caught.value).startswith("job.py failed on the Spark of connection spark_default:\n")


def test_the_log_of_the_stage_is_kept_in_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with stage_log(tmp_path / "logs" / "explore.log"):
        logging.getLogger("noria.stages.explore").info("8 columns")
    logging.getLogger("noria.stages.explore").info("after the stage")
    assert (tmp_path / "logs" / "explore.log").read_text() == "INFO 8 columns\n"
