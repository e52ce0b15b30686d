"""Write .env for docker-compose.yaml: .env.example with every empty secret filled by a fresh random one.

Needs nothing but Python. An existing .env is left alone, because its passwords are those of the databases.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _word() -> str:
    return secrets.token_urlsafe(32)  # URL-safe, because some of them become part of a URL


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def _storage_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()


SECRETS: dict[str, Callable[[], str]] = {
    "POSTGRES_PASSWORD": _word,
    "REDIS_PASSWORD": _word,
    "AIRFLOW_ADMIN_PASSWORD": _word,
    "AIRFLOW_FERNET_KEY": _fernet_key,
    "AIRFLOW_JWT_SECRET": lambda: secrets.token_urlsafe(64),
    "AIRFLOW_API_SECRET_KEY": _word,
    "AZURITE_ACCOUNT_KEY": _storage_key,
}


def fill(example: str) -> str:
    """The example with every empty secret filled."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"{name}={SECRETS[name]()}" if name in SECRETS else match.group(0)

    return re.sub(r"(?m)^([A-Z_]+)=$", value, example)


def main(target: Path = ROOT / ".env") -> int:
    """Write the file, readable by its owner alone; the exit code."""
    text = fill((ROOT / ".env.example").read_text(encoding="utf-8"))
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        print(f"{target} exists and was left as it is; its passwords are those of the databases", file=sys.stderr)
        return 1
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    print(f"written: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
