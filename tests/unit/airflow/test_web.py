"""The plugin's pages: who may see them, what they serve, and what they do not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.plugins_manager import get_fastapi_plugins
from airflow.settings import engine
from fastapi import FastAPI
from starlette.testclient import TestClient

from noria.errors import BudgetError
from noria.jobs.runner import keep_failure
from noria.records import BEFORE_STAGES, Report, Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path, safe_run_id
from tests.support.runs import done, validation

RUN_ID = "manual__2026-01-01T00:00:00+00:00"
ENCODED = "manual__2026-01-01T00%3A00%3A00%2B00%3A00"
BASE = f"/noria/dags/students__retrain/runs/{ENCODED}"


@pytest.fixture(scope="module")
def login() -> str:
    import_all_models()
    Base.metadata.create_all(engine)
    manager = create_auth_manager()
    manager.init()
    return manager.generate_jwt(SimpleAuthManagerUser(username="reader", role="viewer"))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("NORIA_HOME", str(tmp_path / "home"))
    return Workspace.open(Settings.from_env())


@pytest.fixture
def run(workspace: Workspace) -> Run:
    run = workspace.create_run("students", safe_run_id(RUN_ID))
    page = run_path("students", run.run_id, "report/report.html")
    workspace.lake.create(page, b"<h1>Promoted</h1>")
    done(workspace, run, "report", Report(html=page))
    validation(run, workspace, docs="<h1>Docs</h1>")
    return run


@pytest.fixture
def client(login: str) -> Iterator[TestClient]:
    (plugin,), _middlewares = get_fastapi_plugins()
    root = FastAPI()
    root.mount(plugin["url_prefix"], plugin["app"])
    with TestClient(root, headers={"Authorization": f"Bearer {login}"}) as client:
        yield client


def test_the_report_of_a_run(client: TestClient, run: Run) -> None:
    answer = client.get(f"{BASE}/report")
    assert (answer.status_code, answer.text) == (200, "<h1>Promoted</h1>")
    assert answer.url.path.endswith("/files/report/report.html"), "so that its relative links work"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "no-store" in answer.headers["cache-control"]


def test_its_link_to_the_data_docs_works(client: TestClient, run: Run) -> None:
    report = client.get(f"{BASE}/report")
    assert client.get(report.url.join("../validate/data_docs.html")).text == "<h1>Docs</h1>"
    assert client.get(f"{BASE}/data-docs").text == "<h1>Docs</h1>"


@pytest.mark.parametrize("page", ["report", "data-docs", "files/report/report.html"])
def test_without_a_login_there_is_nothing(client: TestClient, run: Run, page: str) -> None:
    client.headers.pop("Authorization")
    assert client.get(f"{BASE}/{page}").status_code == 401
    client.headers["Authorization"] = "Bearer forged"
    assert client.get(f"{BASE}/{page}").status_code == 403


def test_somebody_who_may_not_read_the_dag_is_refused(
    client: TestClient, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    asked = []

    def refuse(self: SimpleAuthManager, *, method: str, details: object, **_: object) -> bool:
        asked.append((method, details.id))
        return False

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", refuse)
    assert client.get(f"{BASE}/report").status_code == 403
    assert asked == [("GET", "students__retrain")]


@pytest.mark.parametrize(("page", "title"), [("report", "No report yet"), ("data-docs", "No Data Docs yet")])
def test_a_run_without_pages_says_so(client: TestClient, workspace: Workspace, page: str, title: str) -> None:
    answer = client.get(f"/noria/dags/students__retrain/runs/%3Cb%3E/{page}")
    assert answer.status_code == 404
    assert title in answer.text
    assert "<b>" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_run_that_its_budget_has_stopped_says_why(client: TestClient, workspace: Workspace) -> None:
    run = workspace.create_run("students", safe_run_id("manual__3"))
    keep_failure(BEFORE_STAGES, BudgetError("the run breaks its <budget>"), run, workspace)
    answer = client.get("/noria/dags/students__retrain/runs/manual__3/report")
    assert answer.status_code == 404
    assert "Stopped before its first job" in answer.text
    assert "the run breaks its &lt;budget&gt;" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        f"{BASE}/files/run.json",
        f"{BASE}/files/..%2F..%2Fstudents%2F{RUN_ID}%2Freport.json",
        f"{BASE}/files/%2Fetc%2Fpasswd",
        "/noria/dags/students__retrain/runs/../report",
        "/noria/dags/students__retrain/runs/%2E%2E/report",
        "/noria/dags/students__retrain/runs/..%2F..%2Fother/report",
        "/noria/dags/%2E%2E__retrain/runs/x/report",
        "/noria/dags/..%2Fstudents__retrain/runs/x/report",
        f"/noria/dags/students/runs/{ENCODED}/report",
        f"/noria/dags/students/runs/{ENCODED}/files/report/report.html",
        "/noria/docs",
        "/noria/openapi.json",
    ],
)
def test_nothing_else_is_served(client: TestClient, run: Run, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.fixture
def cost_reports(workspace: Workspace) -> None:
    for day in ("2026-11-19", "2026-11-20"):
        workspace.lake.create(f"reports/costs/{day}.html", f"<h1>Costs of {day}</h1>".encode())
        workspace.lake.create(f"reports/costs/{day}.json", b"{}")
    workspace.lake.create("reports/costs/steps/report.json", b"{}")


def test_the_newest_cost_report_and_that_of_a_day(client: TestClient, cost_reports: None) -> None:
    newest = client.get("/noria/costs")
    assert (newest.status_code, newest.text) == (200, "<h1>Costs of 2026-11-20</h1>")
    assert newest.url.path == "/noria/reports/costs/2026-11-20.html", "so that its relative links lead to other days"
    assert "default-src 'none'" in newest.headers["content-security-policy"]
    assert client.get(newest.url.join("2026-11-19.html")).text == "<h1>Costs of 2026-11-19</h1>"


def test_a_cost_reports_link_to_a_run_without_airflow_leads_to_its_report(client: TestClient, run: Run) -> None:
    page = run_path("students", "by-hand", "report/report.html")
    workspace = Workspace.open(Settings.from_env())
    workspace.lake.create(page, b"<h1>By hand</h1>")
    done(workspace, workspace.create_run("students", "by-hand"), "report", Report(html=page))
    workspace.lake.create("reports/costs/2026-11-20.html", b"<h1>Costs</h1>")
    costs = client.get("/noria/costs")
    assert client.get(costs.url.join(f"../../{page}")).text == "<h1>By hand</h1>"
    client.headers.pop("Authorization")
    assert client.get(costs.url.join(f"../../{page}")).status_code == 401


def test_before_the_first_night_it_says_how_to_have_one(client: TestClient, workspace: Workspace) -> None:
    answer = client.get("/noria/costs")
    assert answer.status_code == 404
    assert "No cost report yet" in answer.text
    assert "export_costs" in answer.text


@pytest.mark.parametrize("file", ["2026-11-20.json", "2026-11-21.html", "steps%2Freport.json", "..%2Fx.html", "x.html"])
def test_of_the_costs_only_pages_are_served(client: TestClient, cost_reports: None, file: str) -> None:
    assert client.get(f"/noria/reports/costs/{file}").status_code == 404


@pytest.mark.parametrize("page", ["costs", "reports/costs/2026-11-20.html"])
def test_costs_are_for_those_who_may_read_the_dag_that_exports_them(
    client: TestClient, cost_reports: None, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    def only_others(self: SimpleAuthManager, *, method: str, details: object, **_: object) -> bool:
        return details.id != "export_costs"

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", only_others)
    assert client.get(f"/noria/{page}").status_code == 403
    client.headers.pop("Authorization")
    assert client.get(f"/noria/{page}").status_code == 401
