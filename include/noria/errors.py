"""Errors that say what was got, what was expected and what to do; each is retryable or final."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """Exit codes of `noria run` and of every job."""

    OK = 0
    FAILED = 1
    BAD_INPUT = 2
    REJECTED = 3
    INVALID_DATA = 4


class NoriaError(Exception):
    """Base of every error Noria raises on purpose.

    Args:
        got: What was found, with its place (file, row, column, key).
        expected: What should have been there.
        remedy: What the reader can do now.
    """

    exit_code = ExitCode.FAILED
    retryable = False

    def __init__(self, got: str, *, expected: str = "", remedy: str = "") -> None:
        self.got, self.expected, self.remedy = got, expected, remedy
        parts = [got.rstrip(".")]
        if expected:
            parts.append(f"expected {expected.rstrip('.')}")
        message = "; ".join(parts)
        super().__init__(f"{message}. {remedy}".rstrip() if remedy else f"{message}.")


class InputError(NoriaError):
    """The pipeline file, an argument or the data cannot be used as it is; trying again will not help."""

    exit_code = ExitCode.BAD_INPUT


class SpecError(InputError):
    """A pipeline.yaml is wrong; the message names file, key and line."""


class SourceError(InputError):
    """A source has no such data, or what it delivered is not the table that was asked for."""


class SourceNotFoundError(SourceError):
    """There is nothing at that address (404, 410), or nothing that this token may see."""


class SourceUnavailableError(NoriaError):
    """A source did not answer well this time (5xx, time-out, broken connection); trying again may help."""

    retryable = True


class UnavailableError(NoriaError):
    """A service did not answer well this time (throttled, 5xx, no connection, no capacity); trying again may help."""

    retryable = True


class AccessError(NoriaError):
    """Nobody is signed in, or who is may not do this; the message names the missing role."""


class QuotaError(NoriaError):
    """A quota is full or too small for what was asked; the message says whose."""


class RefusedError(NoriaError):
    """A service refused for another reason: there is no such thing, or it takes no such request."""


class DataInvalidError(NoriaError):
    """The data failed a critical expectation, or too many rows were quarantined."""

    exit_code = ExitCode.INVALID_DATA


class StorageError(NoriaError):
    """The lake or the registry could not be read or written (full disk, no permission)."""


class StorageUnavailableError(StorageError, UnavailableError):
    """The lake or the registry did not answer well (no connection, 5xx, a locked database); trying again may help."""


class StorageAccessError(StorageError, AccessError):
    """The lake or the registry does not know who asks, or does not allow it."""


class VerdictError(NoriaError):
    """A verdict does not permit what is asked: forged, changed, of another model, used before, or out of date."""


class StaleVerdictError(VerdictError):
    """The champion is another one than the verdict was reached against; judge again."""

    retryable = True


class BudgetError(NoriaError):
    """A run would cost more than its budget allows, and nobody has let it through."""


class BusyError(NoriaError):
    """Another process is doing the same thing right now; it will end."""

    retryable = True


class JobError(NoriaError):
    """A child process or a remote job ended without a result (killed, crashed, out of memory)."""

    retryable = True


def as_raised(kind: str, message: str) -> NoriaError:
    """An error of another process as it was raised there: class by its name, message as it stands."""
    found = globals().get(kind)
    error = (found if isinstance(found, type) and issubclass(found, NoriaError) else NoriaError)(message)
    error.args = (message,)
    return error
