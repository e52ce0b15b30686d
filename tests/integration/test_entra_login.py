"""Airflow's login by Entra ID as docker-compose.yaml switches it on: the real API server, a stand-in for Entra ID."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import RSAKey

from tests.integration.test_compose_services import free_port
from tests.support import compose, entra

pytestmark = pytest.mark.slow
SERVER = """
import sys
from airflow.__main__ import main
from airflow.utils.db import upgradedb
upgradedb()  # what `airflow db migrate` does, without loading Airflow twice
sys.argv = ["airflow", "api-server"]
main()
"""
EXAMPLE = compose.ROOT / ".env.example"
TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Deployment:
    """A running API server and where it sends people to sign in."""

    url: str
    entra: entra.Entra
    log: Path


def environment(home: Path, port: int, found: entra.Entra) -> dict[str, str]:
    """What the compose file gives the API server, with this test's database and address."""
    settings = compose.read_env(EXAMPLE)
    settings = {name: value or f"a-secret-of-the-tests-{'x' * 64}" for name, value in settings.items()}
    settings |= {
        "AIRFLOW_AUTH_MANAGER": re.findall(r"AIRFLOW_AUTH_MANAGER=(\S+)", EXAMPLE.read_text())[0],  # as it is told
        "ENTRA_TENANT_ID": found.tenant,
        "ENTRA_CLIENT_ID": found.client_id,
        "ENTRA_CLIENT_SECRET": found.client_secret,
        "ENTRA_AUTHORITY": "",
        "NORIA_UI_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW_BEHIND_TLS": "True",
    }
    given = compose.load(settings)["services"]["airflow-api-server"]["environment"]
    kept = re.compile(r"AIRFLOW__(CORE__AUTH_MANAGER|FAB__.*|API__.*|API_AUTH__.*)|ENTRA_.*")
    chosen = {k: str(v).replace("/opt/noria", str(compose.ROOT)) for k, v in given.items() if kept.fullmatch(k)}
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")},
        **chosen,
        **found.environment,
        "PYTHONPATH": os.pathsep.join([str(compose.LOGIN), found.environment["PYTHONPATH"]]),
        "AIRFLOW__FAB__COOKIE_SECURE": "False",  # there is no TLS here, so a secure cookie would not come back
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
    }


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home, port = tmp_path_factory.mktemp("airflow"), free_port()
    tenant = entra.Entra(TENANT, "the-client-id", "the-client-secret")
    with entra.serving(tenant, tmp_path_factory.mktemp("entra")):
        environ = environment(home, port, tenant)
        log = home / "api-server.log"
        with log.open("wb") as sink:
            server = subprocess.Popen(
                [sys.executable, "-c", SERVER], env=environ, stdout=sink, stderr=sink, cwd=home, start_new_session=True
            )
        try:
            found = Deployment(f"http://127.0.0.1:{port}", tenant, log)
            wait(found)
            yield found
        finally:
            os.killpg(server.pid, signal.SIGKILL)  # it keeps nothing, and would take seconds to say good-bye
            server.wait()


def wait(deployment: Deployment, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if httpx.get(f"{deployment.url}/api/v2/monitor/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise AssertionError(deployment.log.read_text()[-3000:])


def sign_in(deployment: Deployment, name: str, *, key: RSAKey | None = None, **claims: object) -> httpx.Client:
    """A browser that has been to Entra ID and back."""
    browser = httpx.Client(base_url=deployment.url, follow_redirects=False, timeout=30)
    there = browser.get("/auth/login/azure")
    asked = urllib.parse.urlsplit(there.headers["location"])
    query = dict(urllib.parse.parse_qsl(asked.query))
    assert (asked.hostname, asked.path) == (entra.HOST, f"/{TENANT}/oauth2/v2.0/authorize")
    assert query["client_id"] == deployment.entra.client_id
    assert query["redirect_uri"] == f"{deployment.url}/auth/oauth-authorized/azure"
    assert query["code_challenge_method"] == "S256"
    assert set(query["scope"].split()) == {"openid", "profile", "email"}
    code = deployment.entra.code(query["nonce"], name, key=key, **claims)
    browser.get("/auth/oauth-authorized/azure", params={"code": code, "state": query["state"]})
    browser.get("/auth/login/", follow_redirects=True)  # as the UI does: it brings the token of the API
    return browser


def status(browser: httpx.Client, path: str, **body: object) -> int:
    headers = {"Authorization": f"Bearer {browser.cookies.get('_token')}"} if browser.cookies.get("_token") else {}
    return browser.request("POST" if body else "GET", path, json=body or None, headers=headers).status_code


def test_an_admin_of_entra_is_an_admin_of_airflow(deployment: Deployment) -> None:
    browser = sign_in(deployment, "ada", roles=["Admin"])
    assert status(browser, "/api/v2/dags") == 200
    assert status(browser, "/api/v2/pools", name="small", slots=1) == 201


def test_a_viewer_looks_and_changes_nothing(deployment: Deployment) -> None:
    browser = sign_in(deployment, "vera", roles=["Viewer"])
    assert status(browser, "/api/v2/dags") == 200
    assert status(browser, "/api/v2/pools", name="mine", slots=1) == 403


def test_without_an_app_role_there_is_nothing_to_see(deployment: Deployment) -> None:
    assert status(sign_in(deployment, "nora"), "/api/v2/dags") in (401, 403)
    assert status(sign_in(deployment, "mara", roles=["Owner"]), "/api/v2/dags") in (401, 403)
    assert status(httpx.Client(base_url=deployment.url), "/api/v2/dags") == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": f"https://{entra.HOST}/{OTHER_TENANT}/v2.0", "tid": OTHER_TENANT},
        {"aud": "another-application"},
        {"exp": 1},
        {"nonce": "another"},
        {"key": RSAKey.generate_key(2048, {"kid": "tests"})},
    ],
    ids=["another tenant", "another application", "expired", "replayed", "signed by somebody else"],
)
def test_a_wrong_token_does_not_get_in(deployment: Deployment, wrong: dict[str, object]) -> None:
    browser = sign_in(deployment, "eve", roles=["Admin"], **wrong)
    assert status(browser, "/api/v2/dags") == 401


def test_behind_a_proxy_people_come_back_to_its_address(deployment: Deployment) -> None:
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "noria.example.com"}
    there = httpx.get(f"{deployment.url}/auth/login/azure", headers=headers).headers["location"]
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(there).query))
    assert query["redirect_uri"] == "https://noria.example.com/auth/oauth-authorized/azure"


def test_the_secret_goes_to_entra_and_nowhere_else(deployment: Deployment) -> None:
    sign_in(deployment, "ada", roles=["Admin"])
    assert deployment.entra.requests
    log = deployment.log.read_text()
    assert deployment.entra.client_secret not in log
    assert "id_token" not in log
