"""Signatures under what decides: a verdict or an approval that nobody can forge, change or hand to another model.

HMAC-SHA256 with a key of the connection `noria_verdicts`, which Key Vault keeps on Azure; the profile local makes one
of its own under the home folder. Whoever holds the key can promote, so jobs that train are never given it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from noria.errors import InputError, StorageError, VerdictError
from noria.records import Approval, LedgerEntry, SignedVerdict

CONNECTION = "noria_verdicts"
"""Airflow connection whose password holds the key; several keys are divided by spaces, the first one signs."""
SIGNING_STAGES = frozenset({"promote", "release", "report"})
"""Stages that are given the key: they sign, or read what is signed. No other one is."""
LEAST_CHARACTERS = 32
REMEDY = "See docs/operations.md, The key that signs verdicts."
_SIGNATURE = frozenset({"key_id", "signature"})

S = TypeVar("S", SignedVerdict, Approval, LedgerEntry)


@dataclass(frozen=True)
class Keyring:
    """Keys that verdicts are signed with: the first signs, all of them verify, so that a key can be changed.

    Attributes:
        keys: At least 32 characters each.
    """

    keys: tuple[str, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.keys or any(len(key) < LEAST_CHARACTERS for key in self.keys):
            raise InputError(
                "the key that signs verdicts is too short, or there is none",
                expected=f"at least {LEAST_CHARACTERS} random characters as the password of connection {CONNECTION}",
                remedy=REMEDY,
            )

    @classmethod
    def parse(cls, password: str) -> Keyring:
        """The keys in a connection's password.

        Raises:
            InputError: There is none, or one is too short.
        """
        return cls(tuple(password.split()))

    @classmethod
    def at(cls, file: Path) -> Keyring:
        """The keys of a file that only its owner may read; it is made with a new key where there is none.

        Raises:
            StorageError: The file cannot be read or made, or holds no keys.
        """
        try:
            if not file.exists():
                _make(file)
            return cls.parse(file.read_text(encoding="ascii"))
        except OSError as error:
            raise StorageError(
                f"cannot use the key file {file}: {error.strerror or error}",
                remedy="Mend the permissions or set NORIA_HOME to another folder.",
            ) from error
        except (InputError, UnicodeDecodeError):  # the file's text is not shown
            raise StorageError(
                f"the key file {file} is damaged",
                expected=f"keys of at least {LEAST_CHARACTERS} random characters, divided by spaces",
                remedy=f"Restore it, or remove it and a new one is made. {REMEDY}",
            ) from None

    def sign(self, record: S) -> S:
        """The record with a signature over all its other values."""
        key = self.keys[0]
        named = record.model_copy(update={"key_id": key_id(key)})
        return named.model_copy(update={"signature": _signature(key, named)})

    def check(self, record: SignedVerdict | Approval | LedgerEntry) -> None:
        """Nothing, where the signature is right.

        Raises:
            VerdictError: The record was changed after it was signed, or somebody else has signed it.
        """
        what = type(record).__name__
        key = next((k for k in self.keys if key_id(k) == record.key_id), None)
        if key is None:
            raise VerdictError(
                f"the {what} of run {record.run_id} is signed with the key {record.key_id or '(none)'}",
                expected=f"one of {', '.join(map(key_id, self.keys))}",
                remedy=f"If the key was changed, keep the old one behind the new one. {REMEDY}",
            )
        if not hmac.compare_digest(_signature(key, record).encode(), record.signature.encode()):
            raise VerdictError(f"the {what} of run {record.run_id} is not what was signed: it was changed afterwards")


def key_id(key: str) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(b"noria key id" + key.encode()).hexdigest()[:12]


def new_id() -> str:
    """An id that no other verdict has."""
    return secrets.token_hex(16)


def fingerprint(record: SignedVerdict | Approval | LedgerEntry) -> str:
    """SHA-256 of a record together with its signature."""
    return hashlib.sha256(_content(record)).hexdigest()


def _signature(key: str, record: SignedVerdict | Approval | LedgerEntry) -> str:
    content = record.key_id.encode() + b"\0" + _content(record, exclude=_SIGNATURE)
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


def _content(record: SignedVerdict | Approval | LedgerEntry, exclude: frozenset[str] = frozenset()) -> bytes:
    """What is signed: kind and values, as JSON with sorted keys and no spaces.

    Values that are their field's default are left out, so that a field which comes later breaks no older signature.
    """
    values = json.loads(record.model_dump_json(exclude=set(exclude), exclude_defaults=True))
    return json.dumps([type(record).__name__, values], sort_keys=True, separators=(",", ":")).encode()


def _make(file: Path) -> None:
    """Write a new key whole, unless another process is quicker."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FileLock(file.with_name(f".{file.name}.lock")):
        if file.exists():
            return
        fresh = file.with_name(f".{file.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(file)
