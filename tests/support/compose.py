"""docker-compose.yaml as Compose would read it: variables put in, services with the ports that they listen on."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yaml"
LOGIN = Path(sys.prefix) / "login"
"""Packages of requirements/login.txt, which `make test` keeps apart."""
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Z_]+)(?:(?P<operator>:-|:\?)(?P<argument>(?:[^{}]|\{[^{}]*\})*))?\}")
IMAGE_PORTS = {"postgres": {5432}}
"""Ports that an image listens on without being told."""


class MissingVariableError(Exception):
    """A variable that must be set is empty, as `docker compose` would say."""


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Put variables in, as the Compose Specification has it."""

    def value(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        found = environ.get(match["name"], "")
        if match["operator"] == ":?" and not found:
            raise MissingVariableError(match["name"])
        return found or (interpolate(match["argument"], environ) if match["operator"] == ":-" else "")

    return VARIABLE.sub(value, text)


def load(environ: Mapping[str, str] | None = None, file: Path = COMPOSE_FILE) -> dict[str, Any]:
    """The file as a document; with `environ`, its variables put in."""
    document = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return document if environ is None else _walk(document, environ)


def _walk(node: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _walk(value, environ) for key, value in node.items()}
    if isinstance(node, list):
        return [_walk(value, environ) for value in node]
    return interpolate(node, environ) if isinstance(node, str) else node


def read_env(file: Path) -> dict[str, str]:
    """The settings of an .env file."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def listening_ports(name: str, service: Mapping[str, Any]) -> set[int]:
    """Ports that a service listens on: what its command and its environment say, else what its image does."""
    command = " ".join(service.get("command", ()))
    found = {int(p) for p in re.findall(r"(?:port[= ]|--(?:blobPort|port)[= ]|-address=0\.0\.0\.0:)(\d+)", command)}
    environment = service.get("environment", {})
    found |= {int(v.rpartition(":")[2]) for k, v in environment.items() if k.endswith("_BIND_ADDR")}
    if "scheduler" in service.get("command", ()) and "AIRFLOW__CORE__EXECUTOR" in environment:
        found.add(int(environment["AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT"]))
    if "api-server" in service.get("command", ()):
        found.add(8080)  # Airflow's default, checked by a test
    return found or IMAGE_PORTS.get(name, set())
