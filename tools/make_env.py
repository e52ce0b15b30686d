"""Write .env for docker-compose.yaml: .env.example with every empty secret filled by a fresh random one.

Needs nothing but Python. What an existing .env says is left alone, because its passwords are those of the databases;
secrets that a newer Noria needs are added to it.
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
    "NORIA_VERDICTS_KEY": _word,
}


def fill(example: str) -> str:
    """The example with every empty secret filled."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"{name}={SECRETS[name]()}" if name in SECRETS else match.group(0)

    return re.sub(r"(?m)^([A-Z_]+)=$", value, example)


def lacking(text: str) -> str:
    """Lines with a fresh secret for each that these settings do not name."""
    there = set(re.findall(r"(?m)^([A-Z_]+)=", text))
    return "".join(f"{name}={make()}\n" for name, make in SECRETS.items() if name not in there)


def main(target: Path = ROOT / ".env") -> int:
    """Write the file, readable by its owner alone; the exit code."""
    text = fill((ROOT / ".env.example").read_text(encoding="utf-8"))
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _complete(target)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    print(f"written: {target}")
    return 0


def _complete(target: Path) -> int:
    text = target.read_text(encoding="utf-8")
    more = lacking(text)
    if not more:
        print(f"{target} exists and was left as it is; its passwords are those of the databases", file=sys.stderr)
        return 1
    with target.open("a", encoding="utf-8") as stream:
        stream.write(more if text.endswith("\n") else f"\n{more}")
    print(f"added to {target}: {', '.join(line.partition('=')[0] for line in more.splitlines())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
