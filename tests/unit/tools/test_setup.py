"""tools/setup.py in copies of the checkout's few files that it reads; the real thing is how this test got here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from noria.settings import CHECKOUT

SETUP = CHECKOUT / "tools" / "setup.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the real set-up script and the real lock of the installer; nothing else is locked."""
    for name in (
        "tools/setup.py",
        "requirements/uv.txt",
        "tools/azurite/package.json",
        "tools/azurite/package-lock.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    names = ("requirements.txt", "requirements/java.txt", "requirements/test.txt", "requirements/login.txt")
    for name in (*names, "pyproject.toml"):
        (tmp_path / name).write_text("")
    return tmp_path


def _setup(checkout: Path, *arguments: str, python: str = sys.executable, **environment: str):
    return subprocess.run(
        [python, checkout / "tools" / "setup.py", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_registry_out_of_reach_is_told_and_leaves_no_stamp(checkout: Path) -> None:
    nowhere = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "0",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": os.devnull,
    }
    said = _setup(checkout, **nowhere)
    assert said.returncode == 1
    assert "registry could not be reached" in said.stderr
    assert "Traceback" not in said.stderr
    assert not (checkout / ".venv" / "noria-setup.json").exists()


def test_place_that_cannot_be_written(checkout: Path) -> None:
    (checkout / ".cache").write_text("a file where a folder should be")
    said = _setup(checkout)
    assert said.returncode == 1
    assert ".cache" in said.stderr
    assert "Traceback" not in said.stderr


def test_unsupported_python_names_those_that_are(checkout: Path, tmp_path: Path) -> None:
    script = checkout / "tools" / "setup.py"
    script.write_text(script.read_text().replace("= (3, 11), (3, 13)", "= (3, 90), (3, 91)"))
    said = _setup(checkout, PATH=str(tmp_path))
    assert said.returncode == 1
    assert "3.11, 3.12 or 3.13 is needed" in said.stderr
    assert "PYTHON=" in said.stderr


def test_venv_of_another_place_is_not_trusted(checkout: Path) -> None:
    venv = checkout / ".venv"
    venv.symlink_to(Path(sys.prefix))
    script = f"import sys; sys.path.insert(0, {str(checkout / 'tools')!r}); import setup; print(setup.read_stamp())"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "{}"


def test_locks_are_whole(tmp_path: Path) -> None:
    for name in ("requirements", "requirements/uv", "requirements/java", "requirements/test", "requirements/login"):
        text = (CHECKOUT / f"{name}.txt").read_text()
        assert "make lock" in text.splitlines()[1]
        assert "://" not in text, "no address of a registry belongs into a lock"
        pins = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
        assert pins
        assert all("==" in line and line.endswith("\\") for line in pins), name


def test_the_login_adds_to_the_lock_and_changes_nothing_of_it() -> None:
    names = [
        {line.split("==")[0] for line in (CHECKOUT / name).read_text().splitlines() if "==" in line}
        for name in ("requirements.txt", "requirements/login.txt")
    ]
    assert names[1] and not names[0] & names[1]


def _set_up_azurite(checkout: Path, **environment: str) -> str:
    script = f"import sys; sys.path.insert(0, {str(checkout / 'tools')!r}); import setup; setup.set_up_azurite()"
    said = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return said.stderr


def _program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_without_node_the_twin_is_left_out_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    said = _set_up_azurite(checkout, PATH=str(tmp_path))
    assert said == (
        "setup: the offline twin of Azure is left out: there is no `node` on PATH. Install Node.js 20 or later\n"
    )


def test_old_node_leaves_the_twin_out(checkout: Path, tmp_path: Path) -> None:
    _program(tmp_path / "bin", "node", "echo v16.20.0")
    _program(tmp_path / "bin", "npm", "echo npm was called; exit 1")
    assert "Node.js here is v16.20.0" in _set_up_azurite(checkout, PATH=str(tmp_path / "bin"))


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm itself is asked")
def test_npm_registry_out_of_reach_is_told_and_stops_nothing(checkout: Path) -> None:
    nowhere = {"npm_config_registry": "http://127.0.0.1:9", "npm_config_fetch_retries": "0"}
    said = _set_up_azurite(checkout, **nowhere)
    assert "the offline twin of Azure is left out: npm ci" in said
    assert "registry could not be reached" in said
    assert not (checkout / "tools" / "azurite" / "node_modules" / "noria-setup.json").exists()


def test_azurite_is_installed_once_for_each_lock(checkout: Path, tmp_path: Path) -> None:
    _program(tmp_path / "bin", "node", "echo v20.1.0")
    _program(tmp_path / "bin", "npm", 'pwd >>"$CALLS"; mkdir -p node_modules')
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls)}
    for _ in range(2):
        _set_up_azurite(checkout, **environment)
    assert calls.read_text().splitlines() == [str(checkout / "tools" / "azurite")]
    (checkout / "tools" / "azurite" / "package-lock.json").write_text("{}")
    _set_up_azurite(checkout, **environment)
    assert len(calls.read_text().splitlines()) == 2


def test_lock_of_azurite_is_whole() -> None:
    lock = json.loads((CHECKOUT / "tools" / "azurite" / "package-lock.json").read_text())
    packages = {name: facts for name, facts in lock["packages"].items() if name}
    assert lock["packages"][""]["dependencies"] == {"azurite": packages["node_modules/azurite"]["version"]}
    for name, facts in packages.items():
        assert facts["integrity"].startswith("sha512-"), name
        assert facts.get("resolved", "https://registry.npmjs.org/").startswith("https://registry.npmjs.org/"), name


def test_make_hands_its_variables_on_as_they_are(tmp_path: Path) -> None:
    """The recipe's shell sees SOURCE and SET as data, not as code."""
    fake = tmp_path / ".venv" / "bin"
    fake.mkdir(parents=True)
    (fake / "noria").write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    (fake / "noria").chmod(0o755)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "setup.py").write_text("")
    shutil.copy(CHECKOUT / "Makefile", tmp_path / "Makefile")
    variables = ["ONCE=1", "PORT=8123", "SOURCE=github://a/b/c d'$(id).csv@main", "SET=trials=4 seed=1"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "PROFILE")}
    environment |= dict(v.split("=", 1) for v in variables)
    said = subprocess.run(["make", "run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    source = environment["SOURCE"]
    assert json.loads(said.stdout) == [
        *("up", "students", "--once", "--port", "8123", "--source", source, "--set", "trials=4", "--set", "seed=1")
    ]


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        ("", ["noria", None, "up", "students"]),
        ("azure", ["noria", "azure", "up", "students"]),
        ("twin", ["python", None, "-m", "tests.azure.twin", "--key-vault", "--", ".venv/bin/noria", "up", "students"]),
    ],
)
def test_make_run_chooses_the_profile(tmp_path: Path, profile: str, wanted: list[str | None]) -> None:
    fake = tmp_path / ".venv" / "bin"
    fake.mkdir(parents=True)
    for name in ("noria", "python"):
        told = "[os.path.basename(sys.argv[0]), os.environ.get('NORIA_PROFILE'), *sys.argv[1:]]"
        (fake / name).write_text(f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps({told}))\n")
        (fake / name).chmod(0o755)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "setup.py").write_text("import sys; print(sys.argv[1:], file=sys.stderr)")
    shutil.copy(CHECKOUT / "Makefile", tmp_path / "Makefile")
    environment = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "NORIA_PROFILE")}
    said = subprocess.run(
        ["make", "run", f"PROFILE={profile}"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(said.stdout) == wanted
    assert said.stderr.strip() == ("['--twin']" if profile == "twin" else "[]")


def test_help_lists_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    for target in ("setup", "run", "test", "lint", "lock", "clean"):
        assert f"\n{target} " in f"\n{said.stdout}"
