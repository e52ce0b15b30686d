"""Signatures: what is signed can be neither changed nor taken for something else, and nobody sees the key."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from noria.errors import InputError, NoriaError, StorageError, VerdictError
from noria.records import Approval, LedgerEntry, Record, SignedVerdict
from noria.verdicts import LEAST_CHARACTERS, Keyring, key_id, new_id

KEY, OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4
AT = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
RECORDS: dict[str, SignedVerdict | Approval | LedgerEntry] = {
    "verdict": SignedVerdict(
        id="v1",
        action="promote",
        pipeline="students",
        run_id="r1",
        model_sha256="m",
        holdout_sha256="h",
        policy_sha256="p",
        snapshot_id="s",
        code="c",
        sequence=2,
        previous_champion="1",
        version=None,
        by="gate",
        reason="better by 0.1",
        issued_at=AT,
    ),
    "approval": Approval(
        pipeline="students",
        run_id="r1",
        model_sha256="m",
        previous_champion="1",
        approved=True,
        by="ada",
        reason="it is fair",
        at=AT,
    ),
    "entry": LedgerEntry(
        pipeline="students",
        at=AT,
        event="promoted",
        run_id="r1",
        model_sha256="m",
        holdout_sha256="h",
        policy_sha256="p",
        version="2",
        champion_before="1",
        champion_after="2",
        by="gate",
        reasons=("better", "fast"),
        verdict_id="v1",
        previous="d",
    ),
}
FIELDS = [(name, field) for name, record in RECORDS.items() for field in type(record).model_fields]


@pytest.fixture
def keyring() -> Keyring:
    return Keyring((KEY,))


def another(record: Record, field: str) -> Any:
    """A value of the field's type that is not the one that the record has."""
    value = getattr(record, field)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(value, tuple):
        return value[:-1]
    choices = get_args(type(record).model_fields[field].annotation)
    if choices and get_origin(type(record).model_fields[field].annotation) is not None and value in choices:
        return next(choice for choice in choices if choice != value)
    return f"{value or ''}x"


@pytest.mark.parametrize("name", RECORDS)
def test_a_signed_record_passes_also_after_its_way_through_a_file(name: str, keyring: Keyring) -> None:
    signed = keyring.sign(RECORDS[name])
    assert signed.model_copy(update={"key_id": "", "signature": ""}) == RECORDS[name]
    keyring.check(type(signed).model_validate_json(signed.model_dump_json()))


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_change_to_any_field_is_found(name: str, field: str, keyring: Keyring) -> None:
    signed = keyring.sign(RECORDS[name])
    changed = type(signed).model_validate(signed.model_dump() | {field: another(signed, field)})
    assert changed != signed
    with pytest.raises(VerdictError, match="r1"):
        keyring.check(changed)


@pytest.mark.parametrize("field", ["version", "previous_champion"])
def test_a_value_that_is_taken_away_is_found(field: str, keyring: Keyring) -> None:
    signed = keyring.sign(RECORDS["verdict"].model_copy(update={field: "1"}))
    with pytest.raises(VerdictError, match="changed afterwards"):
        keyring.check(signed.model_copy(update={field: None}))


def test_a_record_that_nobody_signed_is_refused(keyring: Keyring) -> None:
    with pytest.raises(VerdictError, match=r"\(none\)"):
        keyring.check(RECORDS["verdict"])
    named = RECORDS["verdict"].model_copy(update={"key_id": key_id(KEY)})
    for signature in ("", "0" * 64, "é"):
        with pytest.raises(VerdictError, match="changed afterwards"):
            keyring.check(named.model_copy(update={"signature": signature}))


def test_a_signature_is_good_for_its_kind_of_record_alone(keyring: Keyring) -> None:
    class Twin(Approval):
        """The same values by another name."""

    signed = keyring.sign(RECORDS["approval"])
    with pytest.raises(VerdictError, match="Twin"):
        keyring.check(Twin.model_validate(signed.model_dump()))


def test_the_first_key_signs_and_every_key_verifies() -> None:
    old, new = Keyring((KEY,)), Keyring.parse(f"{OTHER} {KEY}\n")
    before, after = old.sign(RECORDS["verdict"]), new.sign(RECORDS["verdict"])
    assert (before.key_id, after.key_id) == (key_id(KEY), key_id(OTHER))
    new.check(before)
    new.check(after)
    with pytest.raises(VerdictError, match="keep the old one behind the new one"):
        old.check(after)
    with pytest.raises(VerdictError, match=key_id(KEY)):
        Keyring((OTHER,)).check(before)


def test_a_key_that_calls_itself_by_a_known_name_is_no_known_key(keyring: Keyring) -> None:
    forged = Keyring((OTHER,)).sign(RECORDS["verdict"]).model_copy(update={"key_id": key_id(KEY)})
    with pytest.raises(VerdictError, match="changed afterwards"):
        keyring.check(forged)


@pytest.mark.parametrize("password", ["", "  ", "short", KEY[: LEAST_CHARACTERS - 1], f"{KEY} short"])
def test_a_key_that_can_be_guessed_is_refused(password: str) -> None:
    with pytest.raises(InputError, match="at least 32 random characters") as caught:
        Keyring.parse(password)
    assert KEY not in str(caught.value)


def test_no_two_verdicts_have_the_same_id() -> None:
    assert len({new_id() for _ in range(100)}) == 100
    assert len(new_id()) == 32


# The key's file


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "home" / "keys" / "verdicts.key"
    before = os.umask(0)
    try:
        made = Keyring.at(file)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert Keyring.at(file) == made
    assert made != Keyring.at(tmp_path / "other.key"), "each home has a key of its own"


def test_processes_that_begin_together_share_one_key(tmp_path: Path) -> None:
    file, go = tmp_path / "keys" / "verdicts.key", tmp_path / "go"
    script = (
        "import sys; from pathlib import Path; from noria.verdicts import Keyring, key_id; print(flush=True)\n"
        "while not Path(sys.argv[2]).exists(): pass\n"
        "print(key_id(Keyring.at(Path(sys.argv[1])).keys[0]))"
    )
    command = [sys.executable, "-c", script, file, go]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "\n"
    go.touch()
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert answers == {key_id(Keyring.at(file).keys[0]) + "\n"}


def test_a_killed_maker_leaves_no_half_key(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.key"
    (tmp_path / ".verdicts.key.new").write_text("abc")
    (tmp_path / ".verdicts.key.lock").touch()
    assert len(Keyring.at(file).keys[0]) == 64
    assert {path.name for path in tmp_path.iterdir()} <= {"verdicts.key", ".verdicts.key.lock"}


def test_a_file_system_without_hard_links_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert Keyring.at(tmp_path / "verdicts.key") == Keyring.at(tmp_path / "verdicts.key")


@pytest.mark.parametrize("content", [b"", b"too short\n", b"\xff\xfe" * 40])
def test_a_damaged_file_is_named_and_never_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "verdicts.key"
    file.write_bytes(content)
    with pytest.raises(StorageError, match=r"verdicts\.key is damaged"):
        Keyring.at(file)
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("in the way")
    with pytest.raises(StorageError, match="cannot use the key file"):
        Keyring.at(tmp_path / "keys" / "verdicts.key")


# Nobody sees the key


def test_the_key_is_in_no_text(keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("noria").warning("%s %r", keyring, [keyring])
    signed = keyring.sign(RECORDS["verdict"])
    said = [caplog.text, f"{keyring} {keyring!r}", signed.model_dump_json()]
    for wrong in (signed.model_copy(update={"reason": "x"}), RECORDS["entry"]):
        try:
            keyring.check(wrong)
        except NoriaError:
            said.append(traceback.format_exc())
    try:
        Keyring((KEY, "short"))
    except NoriaError:
        said.append(traceback.format_exc())
    assert len(said) == 6
    assert not [text for text in said if KEY in text]
