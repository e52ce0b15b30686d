"""The pages that the plugin adds to Airflow's API server: a run's report and its Data Docs, and the cost report.

They are shown to those who may read the DAG, and only files that the run's records name are served. Their addresses
mirror the lake, so that a page's relative links lead to the other page. The cost report shows all pipelines; who
may read the DAG that makes it may see it.
"""

import html
import re
from urllib.parse import quote

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noria.airflow.connections import open_workspace
from noria.airflow.defaults import COSTS_DAG, RETRAIN_SUFFIX
from noria.airflow.links import PREFIX
from noria.airflow.pages import find_pages
from noria.errors import NoriaError
from noria.pipeline import NAME_PATTERN
from noria.records import BEFORE_STAGES, Run
from noria.settings import Settings
from noria.workspace import Workspace, run_path, safe_run_id

HEADERS = {
    # Pages hold what came with the data: they may show it, but run nothing and load nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
RUN = "/dags/{dag_id}/runs/{run_id:path}"
COSTS_FOLDER = "reports/costs"
COSTS_PAGE = rf"{COSTS_FOLDER}/\d{{4}}-\d{{2}}-\d{{2}}\.html"
COSTS_ACCESS = [Depends(requires_access_dag(method="GET", param_dag_id=COSTS_DAG))]

app = FastAPI(
    title="Noria",
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
    dependencies=[Depends(requires_access_dag(method="GET"))],
)


@app.get(RUN + "/report")
def report(dag_id: str, run_id: str) -> Response:
    """The run's report."""
    file = _pages(dag_id, run_id).get("report")
    if file is None and (reason := _stopped(dag_id, run_id)):
        return _page("Stopped before its first job", f"<p>{html.escape(reason)}</p>")
    if file is None:
        return _help("No report yet", "A report is written when a run ends, whether it went well or not.", run_id)
    return RedirectResponse(f"files/{file}", headers=HEADERS)


@app.get(RUN + "/data-docs")
def data_docs(dag_id: str, run_id: str) -> Response:
    """What Great Expectations saw in the run."""
    file = _pages(dag_id, run_id).get("data-docs")
    if file is None:
        return _help("No Data Docs yet", "They are written by the task “validate” of a run.", run_id)
    return RedirectResponse(f"files/{file}", headers=HEADERS)


@app.get(RUN + "/files/{file:path}")
def page(dag_id: str, run_id: str, file: str) -> Response:
    """A page that the run's records name."""
    if file not in _pages(dag_id, run_id).values():
        return _help("No such page", "This run has a report and Data Docs, and no page of that name.", run_id)
    run = run_path(dag_id.removesuffix(RETRAIN_SUFFIX), safe_run_id(run_id), "")
    return HTMLResponse(_workspace().lake.read(f"{run}/{file}"), headers=HEADERS)


@app.get("/costs", dependencies=COSTS_ACCESS)
def costs() -> Response:
    """The newest cost report."""
    pages = [path for path in _workspace().lake.list(COSTS_FOLDER) if re.fullmatch(COSTS_PAGE, path)]
    if not pages:
        text = f"It is written every night by the DAG <code>{COSTS_DAG}</code>; trigger it to have one now."
        return _page("No cost report yet", f"<p>{text}</p>")
    return RedirectResponse(f"{PREFIX}/{pages[-1]}", headers=HEADERS)


@app.get(f"/{COSTS_FOLDER}/{{file}}", dependencies=COSTS_ACCESS)
def cost_report(file: str) -> Response:
    """The cost report of a day."""
    path = f"{COSTS_FOLDER}/{file}"
    if not re.fullmatch(COSTS_PAGE, path) or not (lake := _workspace().lake).exists(path):
        return _page("No such cost report", "<p>There is none of that day.</p>")
    return HTMLResponse(lake.read(path), headers=HEADERS)


@app.get("/runs/{pipeline}/{run_id}/report/report.html")
def report_of(pipeline: str, run_id: str) -> Response:
    """Where a cost report's link to a run that Airflow did not start leads to, which is relative as in the lake."""
    dag_id = quote(f"{pipeline}{RETRAIN_SUFFIX}", safe="")
    return RedirectResponse(f"{PREFIX}/dags/{dag_id}/runs/{quote(run_id, safe='')}/report", headers=HEADERS)


def _pages(dag_id: str, run_id: str) -> dict[str, str]:
    """The pages that a run has: kind -> path below the run's folder."""
    workspace = _workspace()
    run = _run(dag_id, run_id, workspace)
    if run is None:
        return {}
    folder = run_path(run.pipeline.name, run.run_id, "") + "/"
    pages = find_pages(run, workspace).items()
    return {kind: path.removeprefix(folder) for kind, path in pages if path.startswith(folder)}


def _stopped(dag_id: str, run_id: str) -> str | None:
    """Why a run was ended before its first job; none if it was not."""
    workspace = _workspace()
    run = _run(dag_id, run_id, workspace)
    failure = workspace.failure(run) if run else None
    return failure.message if failure and failure.stage == BEFORE_STAGES else None


def _run(dag_id: str, run_id: str, workspace: Workspace) -> Run | None:
    pipeline = dag_id.removesuffix(RETRAIN_SUFFIX)
    # The pipeline of another DAG is not the one that the reader may see.
    if not dag_id.endswith(RETRAIN_SUFFIX) or not re.match(NAME_PATTERN, pipeline):
        return None
    try:
        return workspace.load_run(pipeline, safe_run_id(run_id))
    except NoriaError:
        return None


def _workspace() -> Workspace:
    return open_workspace(Settings.from_env())


def _help(title: str, text: str, run_id: str) -> HTMLResponse:
    body = f"""<p>{text}</p><p>Run <code>{html.escape(run_id)}</code>. While it is under way, the tab “Task Instances”
shows how far it is; open this page again when it has ended.</p>"""
    return _page(title, body)


def _page(title: str, body: str) -> HTMLResponse:
    """What is said where there is no page."""
    page = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1rem;
color: #1f2a37; }} @media (prefers-color-scheme: dark) {{ body {{ background: #0b0f14; color: #d7dee8; }} }}</style>
<h1>{title}</h1>{body}</html>"""
    return HTMLResponse(page, status_code=404, headers=HEADERS)
