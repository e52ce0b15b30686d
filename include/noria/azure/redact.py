"""Cut secrets out of texts that services and SDKs wrote, before anybody reads them."""

from __future__ import annotations

import re

from noria.pipeline.source import hide_credentials

_CUT = "***"
_NAMED = (
    r"client_secret|client_assertion|access_token|refresh_token|accountkey|account_key|sharedaccess(?:key|signature)"
)
_PATTERNS = (
    # What a shared access signature signs is of no use without `sig`, but together they are the secret.
    (re.compile(r"(\?)[^\s\"'<>]*\bsig=[^\s\"'<>]*", re.I), rf"\1{_CUT}"),
    (re.compile(r"\bsig=[^\s\"'<>&;]+", re.I), f"sig={_CUT}"),
    (
        re.compile(rf"\b({_NAMED}|password|secret|x-identity-header)(\"?'?\s*[:=]\s*\"?'?)[^\s\"'&;,}}]+", re.I),
        rf"\1\2{_CUT}",
    ),
    (re.compile(r"\b(Bearer|SharedKey|SharedAccessSignature)\s+[^\s\"',;]+", re.I), rf"\1 {_CUT}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?"), _CUT),  # a JSON web token
    (re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{86}==(?![\w+/=])"), _CUT),  # a storage account's key: 64 bytes in base64
)


def without_secrets(text: str) -> str:
    """The text without signatures, keys, tokens, client secrets and passwords in URLs."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return hide_credentials(text)
