"""What the checks of key, registry and ledger find on this machine, and what they do about it: nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from noria.doctor import Finding
from noria.doctor.finding import found
from noria.doctor.local_promotions import check_keys, check_ledger, check_registry
from noria.records import LedgerEntry
from noria.settings import Settings
from noria.verdicts import Keyring
from noria.workspace import Workspace
from tests.support.registering import judged_now

NAME = "students"
CHECKS = {"keys": check_keys, "registry": check_registry, "ledger": check_ledger}


def look(subject: str, home: Path, **environ: str) -> Finding:
    settings = Settings.from_env(environ, home=home)
    return found(subject, lambda: CHECKS[subject](settings))


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where two models were promoted."""
    home = tmp_path_factory.mktemp("home")
    workspace = Workspace.open(Settings.from_env({}, home=home))
    before = None
    for run_id in ("r1", "r2"):
        one = judged_now(workspace.registry, home, NAME, run_id, keyring=workspace.keyring)
        version = one.promote(workspace.registry).version
        entry = LedgerEntry(
            pipeline=NAME, at=datetime.now(UTC), event="promoted", run_id=run_id, by="gate", reasons=(),
            model_sha256=one.verdict.model_sha256, holdout_sha256="h", policy_sha256="p", version=version,
            champion_before=before, champion_after=version, verdict_id=one.verdict.id,
        )  # fmt: skip
        workspace.ledger(NAME).append(entry)
        before = version
    return home


@pytest.fixture
def home(promoted: Path, tmp_path: Path) -> Path:
    """A copy of it; what MLflow knows by its path stays where it is."""
    return Path(shutil.copytree(promoted, tmp_path / "home"))


def test_a_home_where_all_is_well(home: Path) -> None:
    findings = {subject: look(subject, home) for subject in CHECKS}
    assert {f.status for f in findings.values()} == {"ok"}
    assert "2 model versions; each bears its verdict" in findings["registry"].detail
    assert "2 decisions, signed and chained" in findings["ledger"].detail
    key = (home / "keys" / "verdicts.key").read_text().strip()
    assert "signs; from" in findings["keys"].detail and key not in str(findings)


def test_a_home_where_nothing_was_decided_is_left_so(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from noria.settings import Settings\n"
        "from noria.doctor.local_promotions import check_keys, check_ledger, check_registry\n"
        "settings = Settings.from_env({}, home=Path(sys.argv[1]))\n"
        "for check in (check_keys, check_registry, check_ledger): print(check(settings)[0])\n"
        "print(sorted({'mlflow', 'deltalake', 'pandas'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert said.stdout.split("\n")[:4] == ["ok", "ok", "ok", "[]"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read(home: Path, mode: int) -> None:
    file = home / "keys" / "verdicts.key"
    file.chmod(mode)
    finding = look("keys", home)
    assert finding.status == "fail" and f"the mode {mode:o}" in finding.detail
    assert f"chmod 600 {file}" in finding.remedy


def test_a_key_that_is_damaged_gone_or_another_one(home: Path) -> None:
    file = home / "keys" / "verdicts.key"
    file.write_text("short")
    assert look("keys", home).status == "fail" and "is damaged" in look("keys", home).detail
    file.unlink()
    assert look("keys", home).status == "ok"
    for subject in ("registry", "ledger"):
        finding = look(subject, home)
        assert finding.status == "fail" and f"cannot be verified: {file} is gone" in finding.detail
        assert "backup" in finding.remedy
    assert not file.exists(), "none is made"
    other = '{"conn_type": "generic", "password": "a-connection-with-a-key-of-forty-characters"}'
    assert look("keys", home, AIRFLOW_CONN_NORIA_VERDICTS=other).status == "ok"
    for subject in ("registry", "ledger"):
        finding = look(subject, home, AIRFLOW_CONN_NORIA_VERDICTS=other)
        assert finding.status == "fail" and "is signed with the key" in finding.detail
        assert "forty" not in str(finding)


def test_a_registry_written_to_around_noria(home: Path) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=home))
    workspace.registry._client.set_registered_model_alias(NAME, "champion", "1")  # type: ignore[attr-defined]
    workspace.registry._write_tags(NAME, "1", {"noria.verdict": None})
    finding = look("registry", home)
    assert finding.status == "fail"
    assert f"`noria rollback {NAME} --to 2 --reason TEXT`" in finding.detail
    assert f"{NAME} version 1: it has no verdict" in finding.detail


def test_a_version_of_somebody_else_is_a_warning(home: Path) -> None:
    client = Workspace.open(Settings.from_env({}, home=home)).registry._client  # type: ignore[attr-defined]
    client.create_model_version(NAME, "file:///tmp/x")
    finding = look("registry", home)
    assert finding.status == "warn" and f"{NAME} version 3: it has no verdict" in finding.detail


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "mlflow.db").write_bytes(b"this is no database, and never was one" * 100)
    finding = look("registry", tmp_path)
    assert finding.status == "fail" and "mlflow.db" in finding.detail and "backup" in finding.remedy
    Workspace.open(Settings.from_env({}, home=tmp_path)).lake.create("ledger/promotions/_delta_log/0.json", b"{}")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "verdicts.key").write_text("a key of more than thirty-two characters")
    assert look("ledger", tmp_path).status in ("ok", "fail")


def test_a_ledger_whose_end_was_cut_off(home: Path) -> None:
    log = home / "lake" / "ledger" / "promotions" / "_delta_log"
    commits = sorted(log.glob("*.json"))
    commits[-1].unlink()
    finding = look("ledger", home)
    assert finding.status == "fail" and finding.remedy
    assert f"{NAME}: version 2 became champion" in finding.detail


@pytest.mark.parametrize("tags", [{"noria.crown": None, "noria.champion": None}, None], ids=["crown", "version"])
def test_a_champion_that_was_taken_away_with_all_its_traces(home: Path, tags: dict[str, None] | None) -> None:
    """Whoever may write to the registry leaves it as it was before; the ledger remembers."""
    registry = Workspace.open(Settings.from_env({}, home=home)).registry
    client = registry._client  # type: ignore[attr-defined]
    client.set_registered_model_alias(NAME, "champion", "1")
    if tags:
        registry._write_tags(NAME, "2", tags)
    else:
        client.delete_model_version(NAME, "2")
    assert look("registry", home).status == "ok"
    finding = look("ledger", home)
    assert finding.status == "fail"
    assert "run r2 made version 2 the champion" in finding.detail and "the registry says version 1" in finding.detail


def test_an_entry_signed_by_somebody_else(home: Path) -> None:
    settings = Settings.from_env({}, home=home)
    workspace = Workspace.open(settings)
    mine = workspace.ledger(NAME).entries()[-1]
    forger = Workspace.open(settings)
    forger.__dict__["keyring"] = Keyring(("somebody else's key of forty characters",))
    forger.ledger(NAME).append(mine.model_copy(update={"run_id": "r9", "event": "forced"}))
    finding = look("ledger", home)
    assert finding.status == "fail" and "is signed with the key" in finding.detail
