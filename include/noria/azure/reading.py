"""Reading a refusal out of whatever exception it comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from noria.azure.kinds import Refusal
from noria.errors import NoriaError

_LONGEST = 600


def read_exception(error: Exception) -> Refusal | None:
    """What Azure said, from an exception or from those that led to it; nothing if Azure has no part in it.

    adlfs wraps what it gets in FileNotFoundError, RuntimeError and ValueError; azure.ai.ml in exceptions of its own.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    if isinstance(error, NoriaError):
        return None
    chain = list(_chain(error))
    answers = [link for link in chain if isinstance(link, HttpResponseError)]
    if answers:
        refusal = _read_response(answers[0])
        return None if _is_about_a_file(error, refusal) else refusal
    if isinstance(error, FileNotFoundError | FileExistsError):
        return None
    for link in chain:
        if isinstance(link, AzureError):
            return _read_azure_error(link)
    return _read_connection_error(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__ or getattr(error, "inner_exception", None)


def _is_about_a_file(error: Exception, refusal: Refusal) -> bool:
    """Whether it says no more than that a file is missing or stands there already."""
    if isinstance(error, FileExistsError):
        return True
    missing_container = {"ContainerNotFound", "FilesystemNotFound", "ContainerBeingDeleted"}
    return isinstance(error, FileNotFoundError) and refusal.status == 404 and not missing_container & {*refusal.codes}


def _read_response(error: Any) -> Refusal:
    """From an exception that holds an answer, and from the identity's, which may hold none."""
    from azure.core.exceptions import ClientAuthenticationError

    response = getattr(error, "response", None)
    origin = "identity" if isinstance(error, ClientAuthenticationError) and response is None else ""
    codes, message = _read_body(error)
    header = getattr(response, "headers", None) or {}
    codes += [header["x-ms-error-code"]] if header.get("x-ms-error-code") else []
    code = getattr(error, "error_code", None)
    codes += [str(getattr(code, "value", code))] if code else []
    return Refusal(error.status_code or 0, tuple(codes), shortened(message or error.message), origin)


def _read_body(error: Any) -> tuple[list[str], str]:
    """Codes and sentence of an ODataV4 error with all that is nested in it."""
    body = getattr(error, "error", None)
    codes: list[str] = []
    while body is not None:
        codes += [str(body.code)] if getattr(body, "code", None) else []
        details = getattr(body, "details", None) or []
        codes += [str(detail.code) for detail in details if getattr(detail, "code", None)]
        codes += inner_codes(getattr(body, "innererror", None))
        return codes, str(getattr(body, "message", "") or "")
    return codes, ""


def inner_codes(inner: object) -> list[str]:
    """Codes of nested `innererror`s."""
    codes: list[str] = []
    while isinstance(inner, Mapping):
        codes += [str(inner["code"])] if inner.get("code") else []
        inner = inner.get("innererror") or inner.get("innerError")
    return codes


def _read_azure_error(error: Any) -> Refusal:
    """From an exception without an answer: the connection's, or the SDK's own judgement of what it was given."""
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    lost = isinstance(error, ServiceRequestError | ServiceResponseError)
    return Refusal(message=shortened(error.message), origin="connection" if lost else "")


def _read_connection_error(error: Exception) -> Refusal | None:
    """From what the HTTP libraries below raise where no SDK has wrapped it."""
    if isinstance(error, ConnectionError | TimeoutError):
        return Refusal(message=shortened(str(error) or type(error).__name__), origin="connection")
    return None


def read_text(text: str) -> tuple[str, str]:
    """Code and sentence of a body as a service sends it, JSON or not."""
    try:
        body = json.loads(text)
    except ValueError:
        return "", shortened(text)
    found = body.get("error", body) if isinstance(body, Mapping) else {}
    if not isinstance(found, Mapping):
        return "", shortened(str(found))
    code, message = found.get("code") or found.get("Code"), found.get("message") or found.get("Message")
    return str(code or ""), shortened(str(message or ""))


def shortened(message: str) -> str:
    """A message on one line, without what only a machine reads."""
    lines = [line.strip() for line in message.splitlines()]
    noise = (
        "Time:",
        "ErrorCode:",
        "Visit https://",
        "To mitigate this issue",
        "Code:",
        "Message:",
        "Content:",
        "<?xml",
    )
    kept = " ".join(line for line in lines if line and not line.startswith(noise))
    return kept if len(kept) <= _LONGEST else f"{kept[:_LONGEST]}…"
