"""The ledger of promotions over every lake back end: whole whatever happens, and nothing of it is forged unseen."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from noria import ledger as ledger_module
from noria.errors import BusyError, StorageError
from noria.lake import Lake, delta, mirror, open_lake
from noria.ledger import PATH, Ledger
from noria.records import ChampionVersion, LedgerEntry, SignedVerdict
from noria.verdicts import Keyring
from tests.contract.conftest import Place

pytestmark = pytest.mark.slow
KEYRING, STRANGER = Keyring(("k" * 32,)), Keyring(("s" * 32,))
START = datetime(2026, 3, 1, 6, 0, 0, 123456, tzinfo=UTC)
WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from noria.settings import Settings
from noria.workspace import Workspace
from tests.contract.test_ledger import KEYRING, entry
from noria.ledger import Ledger

writer, pipeline, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ledger = Ledger(Workspace.open(Settings.from_env()).lake, pipeline, KEYRING)
print(flush=True)
sys.stdin.readline()
for number in range(count):
    ledger.append(entry(number, run_id=f"{writer}{number}", pipeline=pipeline))
"""


@pytest.fixture
def ledger(lake: Lake, tmp_path: Path) -> Ledger:
    return Ledger(lake, "students", KEYRING, tmp_path / "tmp")


@pytest.fixture
def on_disk(tmp_path: Path) -> tuple[Lake, Ledger]:
    lake = open_lake(str(tmp_path / "lake"))
    return lake, Ledger(lake, "students", KEYRING, tmp_path / "tmp")


def entry(number: int, **changes: Any) -> LedgerEntry:
    facts = {
        "pipeline": "students",
        "at": START + timedelta(days=number),
        "event": "kept",
        "run_id": f"r{number}",
        "model_sha256": f"m{number}",
        "holdout_sha256": "h",
        "policy_sha256": "p",
        "version": None,
        "champion_before": "1",
        "champion_after": "1",
        "by": "gate",
        "reasons": ("a « reason »", "another"),
    }
    return LedgerEntry.model_validate(facts | changes)


def promotion(number: int, version: int, **changes: Any) -> LedgerEntry:
    before = str(version - 1) if version > 1 else None
    facts = {"event": "promoted", "version": str(version), "champion_before": before, "champion_after": str(version)}
    return entry(number, **{**facts, "verdict_id": f"v{version}", **changes})


def runs(entries: Sequence[LedgerEntry]) -> list[str]:
    return [each.run_id for each in entries]


def fill(ledger: Ledger, count: int) -> None:
    for number in range(count):
        ledger.append(entry(number))


# What it says


def test_what_was_entered_is_read_as_it_was_and_by_everybody(
    ledger: Ledger, reopen: Callable[[], Lake], tmp_path: Path
) -> None:
    assert list(ledger.entries()) == [] and ledger.audit() == [] and ledger.champion_at(START) is None
    ledger.append(promotion(0, 1))
    ledger.append(entry(1, reasons=(), at=(START + timedelta(days=1)).astimezone(timezone(timedelta(hours=2)))))
    first, second = Ledger(reopen(), "students", KEYRING, tmp_path / "tmp").entries()
    assert first.model_copy(update={"key_id": "", "signature": ""}) == promotion(0, 1)
    assert second.at == START + timedelta(days=1) and second.at.utcoffset() == timedelta(0)
    assert second.reasons == () and second.verdict_id is None
    assert first.previous == "" and second.previous and ledger.audit() == []


def test_the_same_entry_again_changes_nothing(ledger: Ledger) -> None:
    fill(ledger, 2)
    before = ledger.entries()
    ledger.append(entry(0))
    ledger.append(entry(1, at=START + timedelta(days=9), reasons=("judged again",)))
    assert ledger.entries() == before
    ledger.append(entry(1, event="rejected"))
    ledger.append(entry(1, verdict_id="v9"))
    assert len(ledger.entries()) == 4


def test_pipelines_have_a_chain_each(on_disk: tuple[Lake, Ledger]) -> None:
    lake, ledger = on_disk
    other = Ledger(lake, "teachers", KEYRING)
    for number in range(3):
        ledger.append(entry(number))
        other.append(entry(number, pipeline="teachers", run_id=f"t{number}"))
    assert runs(ledger.entries()) == ["r0", "r1", "r2"]
    assert runs(other.entries()) == ["t0", "t1", "t2"]
    assert ledger.audit() == other.audit() == []
    with pytest.raises(ValueError, match="teachers"):
        ledger.append(entry(9, pipeline="teachers"))


def test_who_was_champion_at_any_moment(on_disk: tuple[Lake, Ledger]) -> None:
    _, ledger = on_disk
    events = [
        entry(0, champion_before=None, champion_after=None, event="rejected"),
        promotion(1, 1),
        entry(2),
        promotion(3, 2),
        entry(4, champion_before="2", champion_after="2", event="dry_run"),
        entry(5, event="rolled_back", version="1", champion_before="2", champion_after="1", by="ada"),
    ]
    for event in events:
        ledger.append(event)
    champions = [ledger.champion_at(START + timedelta(days=day, hours=1)) for day in range(7)]
    assert [c and (c.champion_after, c.run_id) for c in champions] == [
        None, ("1", "r1"), ("1", "r1"), ("2", "r3"), ("2", "r3"), ("1", "r5"), ("1", "r5"),
    ]  # fmt: skip
    assert ledger.champion_at(events[1].at) is not None, "from that very moment on"


def test_looks_are_counted_for_one_champion_on_one_holdout(on_disk: tuple[Lake, Ledger]) -> None:
    _, ledger = on_disk
    ledger.append(promotion(0, 1))
    assert ledger.looks("1", "h", besides="new") == 0
    for number, event in enumerate(("kept", "rejected", "dry_run", "staged"), start=1):
        ledger.append(entry(number, event=event))
    ledger.append(entry(5, model_sha256="m1"))  # the same bytes in another run are no further look
    ledger.append(entry(6, holdout_sha256="h2"))
    ledger.append(entry(7, champion_before="2", champion_after="2"))
    assert ledger.looks("1", "h", besides="new") == 4
    assert ledger.looks("1", "h", besides="m1") == 3, "to be judged again is no further look"
    assert ledger.looks("1", "h2", besides="new") == ledger.looks("2", "h", besides="new") == 1
    assert ledger.looks(None, "h", besides="m0") == 0


# Whole, whatever happens


def test_many_writers_at_once_lose_nothing(place: Place, reopen: Callable[[], Lake], tmp_path: Path) -> None:
    environment = {**os.environ, **place.environment, "NORIA_LAKE_URL": place.url, "NORIA_HOME": str(tmp_path)}
    writers = [("a", "students"), ("b", "students"), ("c", "teachers")]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, *writer, "2"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in writers
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=120) for process in processes] == [0, 0, 0]
    for process in processes:
        process.communicate()
    students = Ledger(reopen(), "students", KEYRING)
    assert sorted(runs(students.entries())) == ["a0", "a1", "b0", "b1"]
    assert runs(Ledger(reopen(), "teachers", KEYRING).entries()) == ["c0", "c1"]
    assert students.audit() == []


class KilledError(BaseException):
    """The process ends here."""


def at_write(lake: Lake, patch: pytest.MonkeyPatch, number: int, then: Callable[[], None]) -> list[str]:
    """Do something right before the n-th write to the lake; the kinds of what is written from now on."""
    written: list[str] = []
    count = iter(range(sys.maxsize))

    def watched(method: str) -> None:
        real = getattr(lake, method)

        def write(*arguments: Any) -> Any:
            if next(count) == number:
                then()
            answer = real(*arguments)
            path = next(Path(a) for a in arguments if isinstance(a, str))
            written.append(path.name.lstrip("0123456789.") if "_delta_log" in path.parts else "data")
            return answer

        patch.setattr(lake, method, write)

    for method in ("put", "create", "replace"):
        watched(method)
    return written


STEPS = ["data", "json", "checkpoint.parquet", "_last_checkpoint"]


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
def test_killed_before_any_step_the_table_is_old_or_new(
    step: int, lake: Lake, reopen: Callable[[], Lake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a retry completes what was begun."""
    monkeypatch.setattr(mirror, "COMMITS_PER_CHECKPOINT", 2)

    def die() -> None:
        raise KilledError

    def add(name: str) -> None:
        def rows(before: pa.Table | None) -> pa.Table | None:
            is_there = before is not None and name in before["name"].to_pylist()
            return None if is_there else pa.table({"pipeline": ["p"], "name": [name]})

        delta.append(lake, "t", rows, {"pipeline": "p"}, tmp_path)

    def told() -> list[str]:
        found = delta.read(reopen(), "t", {"pipeline": "p"}, tmp_path)
        return sorted(found["name"].to_pylist())

    add("a")
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        written = at_write(lake, patch, step, die)
        add("b")
    assert written == STEPS[:step]
    assert told() == (["a", "b"] if "json" in written else ["a"])
    for name in "bcd":
        add(name)
    assert told() == ["a", "b", "c", "d"]


def test_whoever_is_quicker_is_followed(
    lake: Lake, ledger: Ledger, reopen: Callable[[], Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another writer commits between our data file and our commit, to our chain and to another one."""
    fill(ledger, 1)
    rival = Ledger(reopen(), "students", KEYRING)

    def come_between() -> None:
        rival.append(entry(1, run_id="rival"))
        Ledger(reopen(), "teachers", KEYRING).append(entry(0, pipeline="teachers"))

    with monkeypatch.context() as patch:
        written = at_write(lake, patch, 1, come_between)
        ledger.append(entry(2))
    assert written.count("data") == 2, "the chain has another end now, so the entry is written anew"
    assert runs(ledger.entries()) == ["r0", "rival", "r2"]
    assert ledger.audit() == []


def test_the_same_entry_by_two_at_once_stands_there_once(
    lake: Lake, ledger: Ledger, reopen: Callable[[], Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = Ledger(reopen(), "students", KEYRING)
    with monkeypatch.context() as patch:
        at_write(lake, patch, 1, lambda: rival.append(entry(0)))
        ledger.append(entry(0))
    assert runs(ledger.entries()) == ["r0"]


def test_who_is_always_too_slow_is_told_to_come_again(
    lake: Lake, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ledger, 1)
    monkeypatch.setattr(lake, "create", lambda *_: False)
    monkeypatch.setattr(mirror.time, "sleep", lambda _: None)
    with pytest.raises(BusyError, match="were quicker"):
        ledger.append(entry(1))
    assert runs(ledger.entries()) == ["r0"]


def test_a_long_history_is_read_from_its_checkpoint(
    lake: Lake, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of the data only files of the pipeline are fetched."""
    monkeypatch.setattr(mirror, "COMMITS_PER_CHECKPOINT", 3)
    for number in range(7):
        Ledger(lake, f"p{number % 2}", KEYRING).append(entry(number, pipeline=f"p{number % 2}"))
    asked: list[str] = []
    real = lake.read

    def read(path: str) -> bytes:
        asked.append(path.removeprefix(f"{PATH}/"))
        return real(path)

    monkeypatch.setattr(lake, "read", read)
    assert runs(Ledger(lake, "p1", KEYRING, tmp_path).entries()) == ["r1", "r3", "r5"]
    logs = [Path(path).name for path in asked if path.startswith("_delta_log")]
    assert logs == ["_last_checkpoint", *(f"{5:020}{end}" for end in (".checkpoint.parquet", ".json")),
                    *(f"{number:020}.json" for number in (6, 7))]  # fmt: skip
    files = [path for path in asked if not path.startswith("_delta_log")]
    assert len(files) == 3 and all(path.startswith("pipeline=p1/") for path in files)
    assert not list(tmp_path.glob("*/table")), "nothing stays on the local disk"


def test_a_checkpoint_that_is_gone_or_garbled_is_told(lake: Lake, ledger: Ledger) -> None:
    fill(ledger, 1)
    hint = f"{PATH}/_delta_log/_last_checkpoint"
    for content in (b"{", b"[]", b'{"version": 17, "size": 3}'):
        lake.replace(hint, content)
        with pytest.raises(StorageError, match="ledger/promotions cannot be used"):
            ledger.entries()
        assert len(ledger.audit()) == 1
    lake.remove(hint)
    assert runs(ledger.entries()) == ["r0"]


def test_a_run_that_is_judged_again_against_a_newer_champion_is_a_look_at_that_one_too(
    on_disk: tuple[Lake, Ledger],
) -> None:
    _lake, ledger = on_disk
    for champion in ("1", "2", "2", None):
        for event in ("kept", "rejected", "dry_run"):
            ledger.append(entry(0, event=event, champion_before=champion, champion_after=champion))
    assert [(e.champion_before, e.event) for e in ledger.entries()] == [
        (champion, event) for champion in ("1", "2", None) for event in ("kept", "rejected", "dry_run")
    ]
    assert [ledger.looks(champion, "h", besides="other") for champion in ("1", "2", None)] == [1, 1, 1]


def test_an_entry_of_the_future_counts_until_a_person_has_said_who_the_champion_is(
    on_disk: tuple[Lake, Ledger],
) -> None:
    _lake, ledger = on_disk
    ledger.append(promotion(0, 1))
    ledger.append(promotion(4000, 2))
    ledger.append(entry(1))
    assert ledger.history().newest == START + timedelta(days=4000)
    confirmed = promotion(2, 2, event="rolled_back", champion_before="2", verdict_id="w")
    ledger.append(confirmed)
    assert ledger.history().newest == START + timedelta(days=2) and ledger.history().confirmed is not None
    ledger.append(entry(5000))
    assert ledger.history().newest == START + timedelta(days=5000), "what comes after that counts again"
    assert ledger.audit() == []


def test_looks_on_any_holdout(on_disk: tuple[Lake, Ledger]) -> None:
    _lake, ledger = on_disk
    for number in range(4):
        ledger.append(entry(number, holdout_sha256=f"h{number % 3}"))
    history = ledger.history()
    assert [history.looks("1", name, besides="m3") for name in ("h0", "h1", "h9", None)] == [1, 1, 0, 3]


# Other programs; and what the bytes say, which does not depend on where they are


def test_other_programs_read_it_as_it_stands(on_disk: tuple[Lake, Ledger]) -> None:
    lake, ledger = on_disk
    ledger.append(promotion(0, 1))
    fill(ledger, 2)
    found = DeltaTable(lake.url(PATH))
    assert found.metadata().partition_columns == ["pipeline"]
    assert found.metadata().configuration["delta.appendOnly"] == "true"
    assert (found.protocol().min_reader_version, found.protocol().reader_features) == (1, None)
    types = {field["name"]: field["type"] for field in json.loads(found.schema().to_json())["fields"]}
    assert types.pop("at") == "timestamp"
    assert types.pop("reasons") == {"type": "array", "elementType": "string", "containsNull": True}
    assert types == dict.fromkeys(set(LedgerEntry.model_fields) - {"at", "reasons"}, "string")
    rows = found.to_pyarrow_dataset().to_table(columns=["run_id", "event"]).to_pylist()
    assert {(row["run_id"], row["event"]) for row in rows} == {("r0", "promoted"), ("r0", "kept"), ("r1", "kept")}


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    for name in ("a b", "a#b?c", "é"):
        ledger = Ledger(open_lake(str(tmp_path / name / "lake")), "students", KEYRING, tmp_path / name / "tmp")
        fill(ledger, 2)
        assert runs(ledger.entries()) == ["r0", "r1"]


def test_a_later_release_may_tell_more(on_disk: tuple[Lake, Ledger], monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that was begun with fewer columns takes entries of more, and its older ones are read as before."""
    _, ledger = on_disk
    whole = ledger_module._table
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module, "_table", lambda entry: whole(entry).drop_columns(["verdict_id", "previous"]))
        ledger.append(entry(0))
    ledger.append(entry(1, verdict_id="v1"))
    assert [(e.run_id, e.verdict_id) for e in ledger.entries()] == [("r0", None), ("r1", "v1")]
    assert ledger.audit() == []


def test_rows_of_another_program_are_found_and_in_nobodys_way(on_disk: tuple[Lake, Ledger]) -> None:
    lake, ledger = on_disk
    fill(ledger, 2)
    row = {"pipeline": "students", "event": "crowned by hand"}
    schema = pa.schema(DeltaTable(lake.url(PATH)).schema().to_arrow())
    write_deltalake(lake.url(PATH), pa.Table.from_pylist([row], schema=schema), mode="append")
    ledger.append(entry(2))
    assert runs(ledger.entries()) == ["r0", "r1", "r2"]
    assert ledger.audit() == ["1 rows of the ledger of students are no entries"]
    with pytest.raises(DeltaError, match="append-only"):
        DeltaTable(lake.url(PATH)).delete("run_id = 'r1'")


# Nothing is forged unseen


def rewrite(lake: Lake, ledger: Ledger, change: Callable[[list[LedgerEntry]], list[LedgerEntry]]) -> None:
    """Write the table anew, as who has the lake and not the key may do."""
    entries = change(list(ledger.entries()))
    lake.remove(PATH)
    if entries:
        types = {"at": pa.timestamp("us", "UTC"), "reasons": pa.list_(pa.string())}
        schema = pa.schema([(name, types.get(name, pa.string())) for name in LedgerEntry.model_fields])
        rows = pa.Table.from_pylist([each.model_dump() for each in entries], schema=schema)
        write_deltalake(lake.url(PATH), rows, partition_by=["pipeline"])


def edited(entries: list[LedgerEntry], number: int, **changes: Any) -> list[LedgerEntry]:
    return [e.model_copy(update=changes) if n == number else e for n, e in enumerate(entries)]


TAMPERED: dict[str, tuple[Callable[[list[LedgerEntry]], list[LedgerEntry]], str]] = {
    "a reason changed": (lambda es: edited(es, 1, reasons=("it is mine",)), "run r1 is not what was signed"),
    "the model changed": (lambda es: edited(es, 2, model_sha256="mine"), "run r2 is not what was signed"),
    "the time changed": (lambda es: edited(es, 0, at=START + timedelta(days=9)), "run r0 is not what was signed"),
    "the last one changed": (lambda es: edited(es, 3, event="promoted"), "run r3 is not what was signed"),
    "signed by a stranger": (
        lambda es: [*es, STRANGER.sign(entry(4, previous="x"))],
        "run r4 is signed with the key",
    ),
    "the signature taken off": (lambda es: edited(es, 1, key_id="", signature=""), r"signed with the key \(none\)"),
    "one taken out": (lambda es: [es[0], es[2], es[3]], r"before the entry of run r2 \(kept, 2026-03-03 06:00 UTC\)"),
    "the first one taken out": (lambda es: es[1:], "before the entry of run r1"),
    "one put in twice": (lambda es: [*es, es[1]], "run r1 .* stands in the ledger twice"),
    "one of another pipeline": (
        lambda es: [*es, KEYRING.sign(entry(5, pipeline="teachers")).model_copy(update={"pipeline": "students"})],
        "run r5 is not what was signed",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_what_was_tampered_with_is_found(how: str, on_disk: tuple[Lake, Ledger]) -> None:
    lake, ledger = on_disk
    fill(ledger, 4)
    rewrite(lake, ledger, lambda es: es)
    assert ledger.audit() == [], "written anew it is the same"
    change, expected = TAMPERED[how]
    rewrite(lake, ledger, change)
    findings = ledger.audit()
    assert any(re.search(expected, finding) for finding in findings), findings
    assert len(findings) <= 2, "and nothing else is, but for what follows it"


def test_a_forged_champion_is_no_champion(on_disk: tuple[Lake, Ledger]) -> None:
    lake, ledger = on_disk
    ledger.append(promotion(0, 1))
    rewrite(lake, ledger, lambda es: [*es, STRANGER.sign(promotion(1, 2))])
    champion = ledger.champion_at(START + timedelta(days=9))
    assert champion is not None and champion.champion_after == "1"
    assert ledger.looks(None, "h", besides="m0") == 0 and ledger.looks("1", "h", besides="m0") == 1


def test_a_tail_that_was_cut_off_is_missed_by_the_registry(on_disk: tuple[Lake, Ledger]) -> None:
    """The chain alone cannot show it: what is left is whole."""
    lake, ledger = on_disk
    for number in (1, 2):
        ledger.append(promotion(number, number))
    known = [version(1), version(2), version(3, sequence=None)]
    assert ledger.audit(known) == []
    rewrite(lake, ledger, lambda es: es[:1])
    assert ledger.audit() == []
    assert ledger.audit(known) == ["version 2 became champion by the verdict v2, of which the ledger says nothing"]
    rewrite(lake, ledger, lambda _: [])
    assert len(ledger.audit(known)) == 2


def version(number: int, **changes: Any) -> ChampionVersion:
    verdict = SignedVerdict(
        id=f"v{number}", action="promote", pipeline="students", run_id="r", model_sha256="m", holdout_sha256="h",
        policy_sha256="p", snapshot_id="s", code="c", sequence=number, previous_champion=None, by="gate", reason="",
        issued_at=START,
    )  # fmt: skip
    facts: dict[str, Any] = {"version": str(number), "is_champion": False, "created_at": START, "run_id": "r"}
    facts |= {"snapshot_id": "s", "estimator": "ridge", "metrics": {}, "model_sha256": "m", "verdict": verdict}
    return ChampionVersion.model_validate({**facts, "sequence": number, **changes})


@pytest.mark.parametrize("kind", ["part-*.parquet", f"{2:020}.json", "*.checkpoint.parquet"])
@pytest.mark.parametrize("content", [b"", b"garbage", b'{"add": 3}'])
def test_a_garbled_file_is_told_in_a_line_and_never_written_over(
    kind: str, content: bytes, on_disk: tuple[Lake, Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, ledger = on_disk
    monkeypatch.setattr(mirror, "COMMITS_PER_CHECKPOINT", 2)
    fill(ledger, 3)
    file = next(Path(lake.root, PATH).rglob(kind))
    file.unlink()
    file.write_bytes(content)
    if kind.endswith(".json") and not content:
        assert ledger.audit() == [], "a commit of nothing is one to Delta, and leaves no trace in the chain"
        return
    (finding,) = ledger.audit()
    assert "ledger/promotions cannot be used: " in finding and "\n" not in finding and len(finding) < 700
    with pytest.raises(StorageError):
        ledger.append(entry(4))
    assert file.read_bytes() == content


def test_a_lost_file_is_named(lake: Lake, ledger: Ledger) -> None:
    fill(ledger, 2)
    lost = next(path for path in lake.list(PATH) if path.endswith(".parquet"))
    lake.remove(lost)
    with pytest.raises(StorageError, match="has lost its file pipeline=students/"):
        ledger.append(entry(2))
    (finding,) = ledger.audit()
    assert Path(lost).name in finding
