"""Cut secrets out of texts that services and SDKs wrote, before anybody reads them."""

from __future__ import annotations

import re

from noria.pipeline.source import hide_credentials

_CUT = "***"
_NAMED = (
    r"password|passwd|pwd|secret|api[_-]?key|client_assertion|[a-z]_token|accountkey|account_key"
    r"|sharedaccess(?:key|signature)|x-identity-header"
)
# Where a pattern fails it must not be tried again over the same text, or a megabyte takes hours.
_PATTERNS = (
    # What a shared access signature signs is of no use without `sig`, but together they are the secret.
    (re.compile(r"(\?)[^\s\"'<>?]*\bsig=[^\s\"'<>]*", re.I), rf"\1{_CUT}"),
    (re.compile(r"\bsig=[^\s\"'<>&;]+", re.I), f"sig={_CUT}"),
    (re.compile(rf"({_NAMED})(\"?'?\s*[:=]\s*\"?'?)[^\s\"'&;,}}]+", re.I), rf"\1\2{_CUT}"),  # also DB_PASSWORD=
    (re.compile(r"\b(Bearer|SharedKey|SharedAccessSignature)\s+[^\s\"',;]{8,}", re.I), rf"\1 {_CUT}"),
    (re.compile(r"(?<![\w-])eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), _CUT),  # a JSON web token
    (re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{86}==(?![\w+/=])"), _CUT),  # a storage account's key: 64 bytes in base64
)
_HINTS = (
    *("//", "==", "sig=", "eyj", "key", "_token", "secret", "passw", "pwd", "bearer"),
    *("sharedaccess", "client_assertion", "x-identity-header"),
)
"""One of them is in every text that a pattern fits; to look for them costs a twentieth of the patterns."""


def without_secrets(text: str) -> str:
    """The text without signatures, keys, tokens, client secrets and passwords in URLs."""
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return hide_credentials(text)
