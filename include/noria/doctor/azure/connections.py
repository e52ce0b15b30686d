"""Airflow's connections to Azure: where they come from, whether they are there and complete."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from noria.azure import CONNECTIONS, COSTS, LAKE, ML, PRODUCTION, SYNAPSE, AzureConnection
from noria.doctor.finding import Finding, Verdict, split
from noria.doctor.promotions import check_key_password
from noria.errors import NoriaError
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS

BACKEND_VARIABLE = "AIRFLOW__SECRETS__BACKEND"
MAIL = "smtp_default"
_PLACE = ("subscriptionId", "resourceGroup", "workspace")
BACKEND = "secrets"
"""Subject of the secrets backend."""
NEEDED = {
    LAKE: (),
    SYNAPSE: ("host", "sparkPool", "subscriptionId", "resourceGroup"),
    ML: (*_PLACE, "compute"),
    PRODUCTION: _PLACE,
    COSTS: ("scope", "storageAccountId"),
}
"""What each connection must hold: its host, or keys of its extra."""
_SEE = "See docs/azure.md for its form."


@dataclass(frozen=True)
class Connections:
    """What is known of the connections.

    Attributes:
        usable: Those that are there, can be read and are complete, by id.
        broken: What is wrong with the others.
        origins: Where each one that is there comes from.
        backend: What is to say of the secrets backend, if there is one.
        mail: The connection smtp_default as text, or nothing.
        keys: The password of noria_verdicts, or nothing.
    """

    usable: Mapping[str, AzureConnection]
    broken: Mapping[str, Finding]
    origins: Mapping[str, str]
    backend: Finding | None = None
    mail: str = field(default="", repr=False)
    keys: str = field(default="", repr=False)


@dataclass
class _Texts:
    """Connections as text, with their origin."""

    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    backend: Finding | None = None


def collect(settings: Settings, seconds: float) -> Connections:
    """Ask the secrets backend, if there is one, and the environment, in Airflow's order."""
    found = _from_backend(settings, seconds) if settings.full_environment().get(BACKEND_VARIABLE) else _Texts()
    for conn_id in (*CONNECTIONS, VERDICTS, MAIL):
        if conn_id not in found.texts and (text := settings.connection_text(conn_id)):
            found.texts[conn_id] = (text, f"AIRFLOW_CONN_{conn_id.upper()}")
    mail, _ = found.texts.pop(MAIL, ("", ""))
    origins = {conn_id: origin for conn_id, (_, origin) in found.texts.items()}
    keys = _password(found.texts.pop(VERDICTS, ("", ""))[0])
    usable: dict[str, AzureConnection] = {}
    broken: dict[str, Finding] = {}
    for conn_id, (text, _) in found.texts.items():
        try:
            connection = AzureConnection.parse(conn_id, text)
        except NoriaError as error:
            broken[conn_id] = Finding(conn_id, "fail", *split(error)) if error.remedy else _unreadable(conn_id, error)
            continue
        missing = [key for key in NEEDED[conn_id] if not (connection.host if key == "host" else connection.get(key))]
        if missing:
            names = ", ".join(key if key == "host" else f"extra.{key}" for key in missing)
            broken[conn_id] = Finding(conn_id, "fail", f"has no {names}", f"Complete it. {_SEE}")
        else:
            usable[conn_id] = connection
    return Connections(usable, broken, origins, found.backend, mail, keys)


def _password(text: str) -> str:
    """Of a connection; nothing where it cannot be read, since its text may hold the secret."""
    try:
        return AzureConnection.parse(VERDICTS, text).password if text else ""
    except NoriaError:
        return ""


def _unreadable(conn_id: str, error: NoriaError) -> Finding:
    return Finding(conn_id, "fail", str(error), _SEE)


def connection_findings(connections: Connections) -> list[Finding]:
    """A line for the secrets backend, if there is one, and one for each connection."""
    lines = [connections.backend] if connections.backend else []
    return lines + [_about(conn_id, connections) for conn_id in CONNECTIONS]


def check_keys(connections: Connections) -> Verdict:
    """The key that signs verdicts is there."""
    if connections.keys:
        return check_key_password(connections.keys, connections.origins[VERDICTS])
    if VERDICTS in connections.origins:
        return "fail", f"{VERDICTS} from {connections.origins[VERDICTS]} has no password", f"Complete it. {_SEE}"
    absent = _absent(VERDICTS, connections)
    return absent.status, absent.detail, absent.remedy


def _about(conn_id: str, connections: Connections) -> Finding:
    if conn_id in connections.broken:
        return connections.broken[conn_id]
    if conn_id not in connections.usable:
        return _absent(conn_id, connections)
    connection = connections.usable[conn_id]
    what = {
        LAKE: f"storage account {connection.host or 'of NORIA_LAKE_URL'}",
        SYNAPSE: f"{connection.host}, pool {connection.get('sparkPool')}",
        ML: f"workspace {connection.get('workspace')}, compute {connection.get('compute')}",
        PRODUCTION: f"workspace {connection.get('workspace')}",
        COSTS: connection.get("scope"),
    }[conn_id]
    return Finding(conn_id, "ok", f"{what}; from {connections.origins[conn_id]}")


def _absent(conn_id: str, connections: Connections) -> Finding:
    looked = f"AIRFLOW_CONN_{conn_id.upper()} is not set"
    if connections.backend and connections.backend.status == "fail":
        return Finding(conn_id, "fail", f"not known, see {BACKEND}: {looked}", f"Mend {BACKEND} first.")
    if connections.backend:
        looked += " and the secrets backend does not have it"
    if conn_id == PRODUCTION:
        return Finding(conn_id, "ok", "none, so promoted models stay in the workspace of azureml_default")
    if conn_id == COSTS:
        return Finding(
            conn_id, "warn", f"{looked}, so costs are estimates from metering alone", f"Add the connection. {_SEE}"
        )
    if conn_id == LAKE:
        return Finding(
            conn_id, "warn", f"{looked}, so Azure's chain of credentials is asked", f"Add the connection. {_SEE}"
        )
    return Finding(conn_id, "fail", f"there is none: {looked}", f"Add the connection. {_SEE}")


def _from_backend(settings: Settings, seconds: float) -> _Texts:
    """What Airflow's secrets backend holds; a child process asks it, since only noria.airflow imports Airflow."""
    command = [sys.executable, "-m", "noria.airflow.secrets_backend", *CONNECTIONS, VERDICTS, MAIL]
    try:
        child = subprocess.run(
            command,
            env=settings.full_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # it may quote what it reads
            timeout=seconds,
            check=True,
        )
        answer = json.loads(child.stdout)
    except subprocess.TimeoutExpired:
        detail = f"{_name(settings)}: no answer within {seconds:.0f} s"
        return _Texts(backend=Finding(BACKEND, "fail", detail, "Look at its address, and at the network. " + _MEND))
    except (subprocess.CalledProcessError, ValueError):
        detail = f"{_name(settings)} cannot be asked: Airflow does not start"
        return _Texts(backend=Finding(BACKEND, "fail", detail, _MEND))
    name, texts = answer["name"], answer["texts"]
    if answer["error"]:
        return _Texts(backend=Finding(BACKEND, "fail", answer["error"], answer["remedy"] or _MEND))
    count = f"{len(texts.keys() & set(CONNECTIONS))} of the {len(CONNECTIONS)} connections come from it"
    backend = Finding(BACKEND, "ok" if texts else "warn", f"{name}: {count}", "" if texts else _MEND)
    return _Texts({conn_id: (text, name) for conn_id, text in texts.items()}, backend)


_MEND = f"Mend {BACKEND_VARIABLE} and {BACKEND_VARIABLE}_KWARGS, or the names of the secrets. See docs/azure.md."


def _name(settings: Settings) -> str:
    return settings.full_environment()[BACKEND_VARIABLE].rpartition(".")[2]
