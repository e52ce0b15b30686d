"""Whether this machine can run Noria: its Python, Java, disk, ports, mail and lake."""

from __future__ import annotations

import contextlib
import json
import shutil
import smtplib
import socket
import sys
import urllib.parse
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from noria.costs.sheet import load_sheet
from noria.doctor import outbox
from noria.doctor.finding import Verdict
from noria.doctor.local_promotions import check_keys, check_ledger, check_registry
from noria.doctor.probe import probe
from noria.errors import InputError, NoriaError
from noria.launcher.environment import HOST
from noria.launcher.ports import USUAL_PORT, is_free
from noria.launcher.state import LauncherState
from noria.pipeline import SPEC_FILE, find_pipelines, load_spec
from noria.settings import CHECKOUT, Settings
from noria.workspace import Workspace

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
LITTLE_BYTES, TOO_LITTLE_BYTES = 5 * 1024**3, 1024**3
CONNECT_SECONDS = 3.0
SMTP_VARIABLE = "AIRFLOW_CONN_SMTP_DEFAULT"


def check_python(_settings: Settings) -> Verdict:
    """A supported version."""
    found = "{}.{}.{}".format(*sys.version_info[:3])
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return "ok", f"{found} at {sys.executable}", ""
    return "fail", f"{found} at {sys.executable}; 3.11 to 3.13 are supported", "make setup PYTHON=/path/to/python3.12"


def check_packages(_settings: Settings, lock: Path = CHECKOUT / "requirements.txt") -> Verdict:
    """What is installed is what is locked."""
    wrong, count = [], 0
    for line in lock.read_text().splitlines():
        with contextlib.suppress(InvalidRequirement):
            requirement = Requirement(line.removesuffix("\\").strip())
            if requirement.marker is not None and not requirement.marker.evaluate():
                continue
            count += 1
            try:
                present = version(requirement.name)
            except PackageNotFoundError:
                present = "missing"
            if not requirement.specifier.contains(present if present != "missing" else "0", prereleases=True):
                wrong.append(f"{requirement.name} is {present}, locked is {requirement.specifier}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return "fail", "; ".join(wrong[:5]) + more, "make setup"
    main = ", ".join(f"{name} {version(name)}" for name in ("apache-airflow", "pyspark", "mlflow", "dask"))
    return "ok", f"{count} packages as locked: {main}", ""


def check_java(settings: Settings) -> Verdict:
    """A Java that Spark runs on."""
    from noria.compute.java import find_java

    return "ok", find_java(settings).description, ""


def check_disk(settings: Settings) -> Verdict:
    """Room for the state."""
    place = settings.home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    detail = f"{free / 1024**3:.1f} GiB free at {place}"
    remedy = "Free some space, or set NORIA_HOME to a bigger disk."
    if free < TOO_LITTLE_BYTES:
        return "fail", detail, remedy
    return ("warn", detail, remedy) if free < LITTLE_BYTES else ("ok", detail, "")


def check_ports(settings: Settings) -> Verdict:
    """A port for the UI on loopback."""
    state = LauncherState.load(settings.home)
    if state is not None and state.is_running:
        return "ok", f"Noria is up at {state.url} (process {state.launcher['pid']})", ""
    if is_free(USUAL_PORT):
        return "ok", f"{HOST}:{USUAL_PORT} is free", ""
    if is_free(0):
        return (
            "warn",
            f"{HOST}:{USUAL_PORT} is taken",
            "make run takes a free port by itself, or the one of PORT=.",
        )
    return "fail", f"no port can be opened on {HOST}", "Allow loopback connections."


def check_lake(settings: Settings) -> Verdict:
    """Something can be written to the lake, read back and removed."""
    lake = Workspace.open(settings).lake
    probe(lake)
    return "ok", f"{lake.root} can be written", ""


def check_outbox(settings: Settings) -> Verdict:
    """Mails do not wait for good."""
    workspace = Workspace.open(settings)
    return outbox.check_outbox(workspace.lake, workspace.clock())


def check_mail(settings: Settings, connection: str | None = None) -> Verdict:
    """The mail server that alerts go to takes connections.

    Args:
        settings: Where it is looked for.
        connection: Airflow's connection to it, if it was looked for already.
    """
    configured = settings.full_environment().get(SMTP_VARIABLE) if connection is None else connection
    state = LauncherState.load(settings.home)
    if configured:
        host, port = _smtp_address(configured)
        whose = SMTP_VARIABLE
    elif state is not None and state.is_running:
        host, port, whose = HOST, state.smtp_port, "the local inbox"
    else:
        own = "" if settings.profile == "azure" else "make run brings its own; or "
        remedy = f"{own}set {SMTP_VARIABLE}."
        return "warn", "no mail server is set and Noria is not up", remedy[0].upper() + remedy[1:]
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as server:
            server.settimeout(CONNECT_SECONDS)
            greeting = server.recv(3)
    except OSError as error:
        return "fail", f"{host}:{port} ({whose}): {error}", f"Start the mail server or mend {SMTP_VARIABLE}."
    if greeting == b"220" or port == smtplib.SMTP_SSL_PORT:
        return "ok", f"{host}:{port} ({whose}) takes mail", ""
    return "fail", f"{host}:{port} ({whose}) is no mail server", f"Mend {SMTP_VARIABLE}."


def _smtp_address(connection: str) -> tuple[str, int]:
    try:
        if connection.lstrip().startswith("{"):
            facts = json.loads(connection)
            return str(facts["host"]), int(facts.get("port") or smtplib.SMTP_PORT)
        parts = urllib.parse.urlsplit(connection)
        return parts.hostname or "", parts.port or smtplib.SMTP_PORT
    except (ValueError, KeyError, TypeError):  # its text may hold a password, so it is not shown
        raise InputError(f"{SMTP_VARIABLE} is no connection", expected='{"conn_type": "smtp", "host": …}') from None


def check_profile(settings: Settings) -> Verdict:
    """The profile has its back ends."""
    return "ok", f"{settings.profile}, state in {settings.home}", ""


def check_pipelines(settings: Settings) -> Verdict:
    """Every pipeline.yaml can be read."""
    found = find_pipelines(settings.pipelines)
    faults = []
    for folder in found.values():
        try:
            load_spec(folder / SPEC_FILE)
        except NoriaError as error:
            faults.append(str(error))
    if faults:
        return "fail", "\n".join(faults), "Mend the lines that are named; the other pipelines run meanwhile."
    if not found:
        return "fail", f"none in {', '.join(map(str, settings.pipelines))}", "noria new NAME --from FILE.csv"
    return "ok", ", ".join(sorted(found)), ""


def check_prices(settings: Settings) -> Verdict:
    """The price sheet can be read."""
    sheet = load_sheet(settings.costs_file)
    return "ok", f"{settings.costs_file}: {sheet.currency}, {len(sheet.machines)} machines", ""


CHECKS: dict[str, Callable[[Settings], Verdict]] = {
    "python": check_python,
    "packages": check_packages,
    "java": check_java,
    "disk": check_disk,
    "ports": check_ports,
    "profile": check_profile,
    "lake": check_lake,
    "keys": check_keys,
    "registry": check_registry,
    "ledger": check_ledger,
    "mail": check_mail,
    "outbox": check_outbox,
    "pipelines": check_pipelines,
    "prices": check_prices,
}
