"""Reading a refusal out of whatever exception it comes in."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from noria.azure.kinds import NO_NAME_NOW, Refusal
from noria.azure.redact import without_secrets
from noria.errors import NoriaError

_LONGEST = 600
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = ("RequestId:", "Time:", "ErrorCode:", "Visit https://", "To mitigate this issue", "Code:", "Content:", "<?xml")
_ABSENT = re.compile(r"unavailable|not found on path|could not be found|not installed|requires the", re.I)
"""How a credential of a chain says that it has nothing to offer here."""
_TOKEN_ANSWER = re.compile(r"Token request error: \(\w+\) (\w+),")


def read_exception(error: Exception) -> Refusal | None:
    """What Azure said, from an exception or from those that led to it; nothing if Azure has no part in it.

    adlfs wraps what it gets in FileNotFoundError, RuntimeError and ValueError; azure.ai.ml in exceptions of its own.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    if isinstance(error, NoriaError):
        return None
    if not (isinstance(error, AzureError | OSError | RuntimeError | ValueError) or _is_of_http_library(error)):
        return None  # a mistake of ours stays one, whatever was being handled when it happened
    chain = list(_chain(error))
    answer = next((link for link in chain if isinstance(link, HttpResponseError)), None)
    if answer is not None:
        refusal = _read_response(answer)
        return None if _is_about_a_file(error, refusal) else refusal
    if isinstance(error, FileNotFoundError | FileExistsError):
        return None
    found = next(filter(None, map(_read_without_answer, chain)), None)
    if found and any(isinstance(link, socket.gaierror) and link.errno == socket.EAI_AGAIN for link in chain):
        # Its words differ from system to system, and may stand where the sentence is cut.
        return replace(found, codes=(NO_NAME_NOW, *found.codes))
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        context = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or context or getattr(error, "inner_exception", None)


def _is_of_http_library(error: BaseException) -> bool:
    """Whether it comes from below the SDKs, which wrap nearly all of these."""
    return type(error).__module__.partition(".")[0] in ("aiohttp", "httpx", "requests", "urllib3")


def _is_about_a_file(error: Exception, refusal: Refusal) -> bool:
    """Whether it says no more than that a file is missing or stands there already."""
    if isinstance(error, FileExistsError):
        return True
    missing_container = {"ContainerNotFound", "FilesystemNotFound", "ContainerBeingDeleted"}
    return isinstance(error, FileNotFoundError) and refusal.status == 404 and not missing_container & {*refusal.codes}


def _read_response(error: Any) -> Refusal:
    """From an exception that holds an answer, and from an identity's, which holds none."""
    from azure.core.exceptions import ClientAuthenticationError

    response = getattr(error, "response", None)
    if response is None and isinstance(error, ClientAuthenticationError):
        return read_identity_error(error.message)
    headers = getattr(response, "headers", None) or {}
    codes, message = _read_body(response)
    code = getattr(error, "error_code", None)  # azure-storage reads its XML itself
    codes += [str(getattr(code, "value", code) or ""), headers.get("x-ms-error-code") or ""]
    return Refusal(
        status=error.status_code or 0,
        codes=tuple(filter(None, codes)),
        message=shortened(message or error.message),
        request_id=headers.get("x-ms-request-id") or "",
    )


def read_identity_error(message: str) -> Refusal:
    """From what a chain of credentials says; it keeps neither the exception nor the answer.

    A credential that had something to offer and failed ends the chain, so its words count. An identity's endpoint
    that answered without a status may have meant anything, and most likely trouble of its own.
    """
    attempts = re.findall(r"^\s*(\w+Credential): (.*)$", message, re.M)
    failed = [(name, text) for name, text in attempts if not _ABSENT.search(text)]
    if not failed:
        tried = ", ".join(name for name, _ in attempts)
        return Refusal(message=f"tried {tried}" if tried else shortened(message), origin="no identity")
    name, text = failed[-1]
    answer = _TOKEN_ANSWER.search(text)
    status = int(answer[1]) if answer and answer[1].isdigit() else 0
    text = text.removeprefix("App Service managed identity configuration not found in environment. ")
    return Refusal(status, message=shortened(f"{name}: {text}"), origin="identity")


def _read_body(response: Any) -> tuple[list[str], str]:
    """Codes and sentence of an answer's body; nothing of one that was not read, or is no JSON."""
    try:
        body = json.loads(response.text())
    except Exception:  # azure.core raises errors of many kinds where a body was streamed
        return [], ""
    return _read_json(body)


def _read_json(body: object) -> tuple[list[str], str]:
    """Codes, the outermost first, and sentence of an error as ARM, Azure ML, Synapse or Livy write it."""
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    if not isinstance(body, Mapping):
        return [], ""
    lower = {str(key).lower(): value for key, value in body.items()}
    codes = [str(lower["code"])] if lower.get("code") else []
    details = lower.get("details")
    for inner in [*(details if isinstance(details, list) else []), lower.get("innererror")]:
        codes += _read_json(inner)[0]
    return codes, str(lower.get("message") or "")


def _read_without_answer(error: BaseException) -> Refusal | None:
    """From an exception without an answer: a connection's, or the SDK's own judgement of what it was given."""
    from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError

    lost = isinstance(error, ServiceRequestError | ServiceResponseError | ConnectionError | TimeoutError)
    if lost or _is_of_http_library(error):
        return Refusal(message=shortened(str(error) or type(error).__name__), origin="connection")
    if isinstance(error, AzureError):
        return Refusal(message=shortened(error.message))
    if "authority configuration" in str(error):  # a ValueError of MSAL, which knows no such tenant
        return Refusal(codes=("AADSTS90002",), message=shortened(str(error)))
    return None


def shortened(message: str) -> str:
    """A message on one line, without colours, secrets and what only a machine reads."""
    lines = [line.strip() for line in _COLOUR.sub("", message).splitlines()]
    # Secrets go before it is cut: half a key is not known for one.
    kept = without_secrets(" ".join(line for line in lines if line and not line.startswith(_NOISE)))
    return kept if len(kept) <= _LONGEST else f"{kept[:_LONGEST]}…"
