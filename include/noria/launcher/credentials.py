"""Secrets of one home: made once, kept in a file that only its owner can read, never shown except the password."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from noria.errors import StorageError

USER = "admin"


@dataclass(frozen=True)
class Credentials:
    """What Airflow signs, encrypts and logs in with.

    Attributes:
        password: Of the user `admin` of the UI.
        jwt_secret: Signs the tokens of users and tasks.
        fernet_key: Encrypts connections in the metadata database.
    """

    password: str = field(repr=False)
    jwt_secret: str = field(repr=False)
    fernet_key: str = field(repr=False)

    @classmethod
    def of_home(cls, home: Path) -> Credentials:
        """Those of a home; made if it has none.

        Raises:
            StorageError: The file cannot be read or written, or is not what it was.
        """
        path = home / "airflow" / "credentials.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                write_private(path, json.dumps(asdict(cls._fresh())))
            return cls(**json.loads(path.read_text()))
        except (ValueError, TypeError):
            raise StorageError(
                f"{path} is damaged", remedy="Remove it together with airflow/airflow.db beside it; both are made anew."
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot use {path}: {error.strerror}",
                remedy="Mend the permissions or set NORIA_HOME to another folder.",
            ) from error

    @classmethod
    def _fresh(cls) -> Credentials:
        return cls(
            password=secrets.token_urlsafe(12),
            jwt_secret=secrets.token_urlsafe(64),
            fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        )


def write_private(path: Path, text: str) -> None:
    """Write a whole file that only its owner can read."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
