"""Addresses in mails are routes of the UI that Airflow ships."""

import re
from pathlib import Path

import airflow
import pytest

from noria.airflow import links

BUNDLES = Path(airflow.__file__).parent / "ui" / "dist" / "assets"


@pytest.fixture(scope="module")
def routes() -> set[str]:
    """Paths of the UI's routes; those of its tabs are relative."""
    found: set[str] = set()
    for bundle in BUNDLES.glob("index-*.js"):
        found |= set(re.findall(r"path:[`\"']([\w:/*]+)[`\"']", bundle.read_text(encoding="utf-8")))
    return found


def route_of(address: str) -> str:
    path = address.partition("127.0.0.1:8080/")[2]
    return re.sub("(dags|runs|tasks)/[^/]+", lambda m: f"{m[1]}/:{m[1][:-1]}Id", path)


def test_addresses_lead_to_routes_of_the_ui(routes: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NORIA_UI_URL", "http://127.0.0.1:8080")
    run = ("students__retrain", "manual__2026-01-01T00:00:00+00:00")
    assert route_of(links.run_url(*run)) in routes
    assert route_of(links.task_url(*run, "ingest")) in routes
    task, _, tab = route_of(links.approval_url(*run, "approve")).rpartition("/")
    assert task in routes
    assert tab in routes
