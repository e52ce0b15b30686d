"""Signatures under what decides: a verdict or an approval that nobody can forge, change or hand to another model.

HMAC-SHA256 with a key of the connection `noria_verdicts`, which Key Vault keeps on Azure; the profile local makes one
of its own under the home folder. Whoever holds the key can promote, so jobs that train are never given it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from noria.errors import InputError, VerdictError
from noria.records import Approval, LedgerEntry, SignedVerdict, canonical

CONNECTION = "noria_verdicts"
"""Airflow connection whose password holds the key; several keys are divided by spaces, the first one signs."""
LEAST_CHARACTERS = 32
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
                remedy="See docs/gate.md.",
            )

    @classmethod
    def parse(cls, password: str) -> Keyring:
        """The keys in a connection's password."""
        return cls(tuple(password.split()))

    @classmethod
    def at(cls, file: Path) -> Keyring:
        """The keys of a file that only its owner may read; it is made with a new key where there is none."""
        if not file.exists():
            _make(file)
        return cls.parse(file.read_text(encoding="ascii"))

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
                remedy="If the key was changed, keep the old one behind the new one.",
            )
        if not hmac.compare_digest(_signature(key, record), record.signature):
            raise VerdictError(f"the {what} of run {record.run_id} is not what was signed: it was changed afterwards")


def key_id(key: str) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(b"noria key id" + key.encode()).hexdigest()[:12]


def new_id() -> str:
    """An id that no other verdict has."""
    return secrets.token_hex(16)


def _signature(key: str, record: SignedVerdict | Approval | LedgerEntry) -> str:
    kind = type(record).__name__.encode()
    content = kind + b"\0" + record.key_id.encode() + b"\0" + canonical(record, exclude=_SIGNATURE)
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


def _make(file: Path) -> None:
    """Write a new key, whole and by exclusive create; another process that is quicker has made it then."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    fresh.touch(mode=0o600)
    fresh.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
    try:
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
