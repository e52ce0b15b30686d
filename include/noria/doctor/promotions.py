"""Whether the key, the registry and the ledger say the same of who was promoted, and why."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from noria.doctor.finding import Verdict
from noria.errors import NoriaError
from noria.lake import Lake
from noria.ledger import PATH, Ledger
from noria.records import ChampionVersion
from noria.registry.reading import Reading
from noria.verdicts import CONNECTION, Keyring, key_id

_STRANGE = "They stop nothing. docs/operations.md tells where such versions come from."
_SEE = "Do what each line says; docs/gate.md says why."


def check_key_file(file: Path) -> Verdict:
    """The key of the profile local is there, can be read, and nobody else can read it."""
    if not file.exists():
        return "ok", f"{file} is made with the first decision", ""
    keyring = Keyring.at(file)
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        return (
            "fail",
            f"{file} has the mode {mode:o}: others on this machine can sign verdicts with it",
            f"chmod 600 {file}, and change the key if they may have read it (docs/gate.md).",
        )
    return "ok", f"{_told(keyring)}; from {file}", ""


def check_key_password(password: str, origin: str) -> Verdict:
    """The connection's password holds keys."""
    return "ok", f"{_told(Keyring.parse(password))}; from {origin}", ""


def no_key(what: str, file: Path | None = None) -> Verdict:
    """The verdict on something that cannot be verified."""
    where = f"{file} is gone" if file else f"there is no connection {CONNECTION}"
    return (
        "fail",
        f"{what} cannot be verified: {where}",
        "Restore the key from a backup. Without it what was promoted has to be judged again (docs/gate.md).",
    )


def audited(production: Reading, staging: Reading | None, names: Iterable[str], well: str) -> Verdict:
    """Nothing was written to the registries around the verdicts.

    Versions of others that cannot be taken for the champion are a warning. Where staging does not answer, the check of
    its workspace says so.
    """
    found, strange = list[str](), list[str]()
    for name in names:
        found += production.audit(name)
        strange += production.strangers(name)
        if staging is not None:
            with contextlib.suppress(NoriaError):
                found += [f"staging: {sentence}" for sentence in staging.audit(name)]
                strange += [f"staging: {sentence}" for sentence in staging.strangers(name)]
    if found:
        return "fail", "\n".join([*found, *strange]), _SEE
    return ("warn", "\n".join(strange), _STRANGE) if strange else ("ok", well, "")


def is_kept(lake: Lake) -> bool:
    """Whether a ledger was begun."""
    return next(iter(lake.list(PATH)), None) is not None


def check_ledger(lake: Lake, names: Iterable[str], keyring: Keyring, registry: Reading | None) -> Verdict:
    """Every decision of each pipeline is signed, chained to the one before, and agrees with the registry."""
    found: list[str] = []
    count = 0
    for name in names:
        ledger = Ledger(lake, name, keyring)
        found += [f"{name}: {sentence.rstrip('.')}." for sentence in ledger.audit(_versions(registry, name))]
        count += len(ledger.entries()) if not found else 0
    if found:
        remedy = f"Find out who writes to {lake.url(PATH)}; `noria history NAME` shows what it says. docs/gate.md."
        return "fail", "\n".join(found), remedy
    return "ok", f"{lake.url(PATH)}: {count} decisions, signed and chained", ""


def _versions(registry: Reading | None, name: str) -> Sequence[ChampionVersion] | None:
    """What the registry knows; where it does not answer, its own check says so."""
    with contextlib.suppress(NoriaError):
        return registry.history(name) if registry else None
    return None


def _told(keyring: Keyring) -> str:
    first, *others = map(key_id, keyring.keys)
    return f"key {first} signs" + (f", {', '.join(others)} still verify" if others else "")
