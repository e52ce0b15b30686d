"""How a task tells what goes on: its job's lines in Airflow's log, and its errors where a mail finds them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowRuntimeError

from noria.azure.redact import without_secrets
from noria.errors import NoriaError


@contextlib.contextmanager
def errors_told(what: str, file: Path, log: Any) -> Iterator[None]:
    """Turn errors into what Airflow understands, and note each at the end of a log file.

    An error that says it may pass is raised as it is, so that Airflow retries, and so is trouble of Airflow itself; any
    other one fails the task at once.

    Args:
        what: What is done here, for the log.
        file: The log where a mail takes its last lines from.
        log: Of the task.

    Raises:
        NoriaError: It may pass; Airflow retries.
        AirflowFailException: It will not; Airflow does not.
    """
    try:
        yield
    except NoriaError as error:
        note(str(error), file, log)
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from None
    except (AirflowException, AirflowRuntimeError):
        raise
    except Exception as error:
        log.exception("%s failed", what)
        message = f"{type(error).__name__}: {error}"
        note(message, file, log)
        raise AirflowFailException(message) from None


def note(message: str, file: Path, log: Any) -> None:
    """Put an error, without secrets, at the end of a log file, unless it stands there already."""
    message = without_secrets(message)
    try:
        if file.exists() and message in file.read_text(encoding="utf-8", errors="replace"):
            return  # the job has said it
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"ERROR {message}\n")
    except OSError as error:  # the first error is the one to report
        log.warning("%s cannot be written: %s", file, error)


def relay(log: Any) -> Callable[[str], None]:
    """Writes a line of a job's log at the level that it names."""

    def write(line: str) -> None:
        level, _, message = line.partition(" ")
        number = logging.getLevelNamesMapping().get(level)
        log.log(number or logging.INFO, "%s", message if number else line)

    return write
