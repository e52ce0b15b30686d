"""Whether the profile local holds promotions as they were decided: the key, the registry in MLflow, the ledger."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from noria.doctor import promotions
from noria.doctor.finding import Verdict
from noria.ledger import PATH as LEDGER
from noria.pipeline import find_pipelines
from noria.settings import Settings, without_userinfo
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring
from noria.workspace import Workspace

if TYPE_CHECKING:
    from noria.registry import Registry

CONNECT_SECONDS = 3.0


def check_registry(settings: Settings) -> Verdict:
    """The registry answers, and nothing was written to it around the verdicts."""
    well, names = [], set[str]()
    for url in filter(None, (settings.registry_url, settings.production_url)):
        status, detail, remedy = _check_answer(url)
        if status != "ok":
            return status, detail, remedy
        well.append(detail)
        names |= _registered(url, settings)
    return _audited(settings, sorted(names), "; ".join(well)) if names else ("ok", "; ".join(well), "")


def _audited(settings: Settings, names: list[str], well: str) -> Verdict:
    keyring = _keyring(settings)
    if keyring is None:
        return promotions.no_key(well, _key_file(settings))
    production, *staging = _registries(settings, keyring)
    return promotions.audited(production, next(iter(staging), None), names, f"{well}; each bears its verdict")


def _check_answer(url: str) -> Verdict:
    """A registry is there; MLflow is not imported for it."""
    if url.startswith("sqlite:///"):
        return _check_sqlite(Path(url.removeprefix("sqlite:///")))
    if not url.startswith(("http://", "https://")):
        return "ok", f"{url.partition('://')[0]} registry", ""
    try:
        answer = httpx.get(f"{url.rstrip('/')}/health", timeout=CONNECT_SECONDS)
    except httpx.HTTPError as error:
        return "fail", without_userinfo(f"{url}: {error}", url), "Start the MLflow server or mend NORIA_MLFLOW_URL."
    if answer.status_code == httpx.codes.OK:
        return "ok", f"{without_userinfo(url)} answers", ""
    return (
        "fail",
        f"{without_userinfo(url)}/health says {answer.status_code}",
        "NORIA_MLFLOW_URL must name an MLflow server.",
    )


def _registered(url: str, settings: Settings) -> set[str]:
    """Pipelines that may have versions in a registry; of a SQLite one, those that have."""
    found = set(find_pipelines(settings.pipelines))
    if not url.startswith("sqlite:///"):
        return found
    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(path, timeout=CONNECT_SECONDS)) as connection:
        return found & {name for (name,) in connection.execute("select distinct name from model_versions")}


def _registries(settings: Settings, keyring: Keyring) -> list[Registry]:
    """Production first; staging behind it, if it is another one."""
    from noria.registry import open_registry

    staging = [settings.registry_url] if settings.production_url else []
    production = open_registry(settings.production_url or settings.registry_url, settings.home, keyring)
    return [production, *(open_registry(url, settings.home, keyring, staging=True) for url in staging)]


def check_keys(settings: Settings) -> Verdict:
    """The key that signs verdicts is safe."""
    if password := settings.connection_password(VERDICTS):
        return promotions.check_key_password(password, f"AIRFLOW_CONN_{VERDICTS.upper()}")
    return promotions.check_key_file(_key_file(settings))


def check_ledger(settings: Settings) -> Verdict:
    """The history of promotions is whole."""
    lake = Workspace.open(settings).lake
    if not promotions.is_kept(lake):
        return "ok", f"{lake.url(LEDGER)} begins with the first decision", ""
    keyring = _keyring(settings)
    if keyring is None:
        return promotions.no_key(lake.url(LEDGER), _key_file(settings))
    url = settings.production_url or settings.registry_url
    has_registry = _check_answer(url)[0] == "ok" and bool(_registered(url, settings))
    registry = _registries(settings, keyring)[0] if has_registry else None
    return promotions.check_ledger(lake, find_pipelines(settings.pipelines), keyring, registry)


def _keyring(settings: Settings) -> Keyring | None:
    """The keys that there are; none is made."""
    if password := settings.connection_password(VERDICTS):
        return Keyring.parse(password)
    file = _key_file(settings)
    return Keyring.at(file) if file.exists() else None


def _check_sqlite(path: Path) -> Verdict:
    if not path.exists():
        existing = next(parent for parent in path.parents if parent.exists())
        if os.access(existing, os.W_OK):
            return "ok", f"{path} is made at the first promotion", ""
        return "fail", f"{existing} cannot be written", "Mend the permissions or set NORIA_HOME."
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=CONNECT_SECONDS)) as connection:
            versions = connection.execute("select count(*) from model_versions").fetchone()[0]
    except sqlite3.Error as error:
        return "fail", f"{path}: {error}", "Restore it from a backup, or move it away; models stay in the lake."
    if not os.access(path, os.W_OK):
        return "fail", f"{path} cannot be written", "Mend the permissions."
    return "ok", f"{path}: {versions} model versions", ""


def _key_file(settings: Settings) -> Path:
    return settings.home / "keys" / "verdicts.key"
