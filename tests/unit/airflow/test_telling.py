"""How an error gets into the log that a mail ends with."""

import logging
from pathlib import Path

from noria.airflow.telling import note


def test_an_error_is_noted_once_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "run" / "ingest.log"
    for _ in range(2):
        note("no answer of postgresql://bob:hunter2@db/x", file, logging.getLogger(__name__))
    assert file.read_text() == "ERROR no answer of postgresql://***@db/x\n"
