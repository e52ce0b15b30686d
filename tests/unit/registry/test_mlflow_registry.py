"""What a registry in trouble says: whether it passes, and never a password."""

import logging
import socket
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from noria.errors import NoriaError, StorageError, StorageUnavailableError
from noria.jobs.runner import keep_failure
from noria.records import Failure
from noria.registry import open_registry
from noria.registry.mlflow_registry import _translated
from noria.settings import Settings
from noria.workspace import Workspace, run_path
from tests.support.registering import KEYRING


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("written", ["SECRET", "SEC%2FRET%40"])
def test_a_password_in_the_url_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    caplog.set_level(logging.DEBUG, logger="noria")
    url = f"http://user:{written}@127.0.0.1:{_closed_port()}"
    workspace = Workspace.open(Settings.from_env({"NORIA_MLFLOW_URL": url}, home=tmp_path))
    run = workspace.create_run("students", "r")
    with pytest.raises(StorageUnavailableError) as caught:
        workspace.registry.history("students")
    keep_failure("promote", caught.value, run, workspace)
    logging.getLogger("noria").error("promote failed", exc_info=caught.value)
    kept = workspace.lake.read(run_path("students", "r", "promote.failed.json")).decode()
    assert Failure.model_validate_json(kept).retryable
    for text in (str(caught.value), caplog.text, kept, repr(workspace)):
        assert "SEC" not in text and "RET" not in text
    assert "127.0.0.1" in str(caught.value)


def test_a_locked_database_passes() -> None:
    locked = OperationalError("insert", {}, sqlite3.OperationalError("database is locked"))
    with pytest.raises(StorageUnavailableError, match="database is locked"), _translated("sqlite:///x"):
        raise locked


def test_a_folder_that_cannot_be_written_does_not(tmp_path: Path) -> None:
    (tmp_path / "registry").write_text("a file")
    with pytest.raises(StorageError) as caught:
        open_registry(f"sqlite:///{tmp_path}/registry/mlflow.db", tmp_path, KEYRING)
    assert isinstance(caught.value, NoriaError) and not caught.value.retryable
