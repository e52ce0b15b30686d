"""The pages that the plugin adds to Airflow's API server: a run's report and its Data Docs.

They are shown to those who may read the DAG, and only files that the run's records name are served. Their addresses
mirror the lake, so that a page's relative links lead to the other page.
"""

import html
import re

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from noria.airflow.connections import open_workspace
from noria.airflow.defaults import RETRAIN_SUFFIX
from noria.airflow.pages import find_pages
from noria.errors import NoriaError
from noria.pipeline import NAME_PATTERN
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


def _pages(dag_id: str, run_id: str) -> dict[str, str]:
    """The pages that a run has: kind -> path below the run's folder."""
    pipeline, workspace = dag_id.removesuffix(RETRAIN_SUFFIX), _workspace()
    safe_id = safe_run_id(run_id)
    # The pipeline of another DAG is not the one that the reader may see.
    if not dag_id.endswith(RETRAIN_SUFFIX) or not re.match(NAME_PATTERN, pipeline):
        return {}
    try:
        run = workspace.load_run(pipeline, safe_id)
    except NoriaError:
        return {}
    folder = run_path(pipeline, safe_id, "") + "/"
    pages = find_pages(run, workspace).items()
    return {kind: path.removeprefix(folder) for kind, path in pages if path.startswith(folder)}


def _workspace() -> Workspace:
    return open_workspace(Settings.from_env())


def _help(title: str, text: str, run_id: str) -> HTMLResponse:
    body = f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1rem;
color: #1f2a37; }} @media (prefers-color-scheme: dark) {{ body {{ background: #0b0f14; color: #d7dee8; }} }}</style>
<h1>{title}</h1><p>{text}</p><p>Run <code>{html.escape(run_id)}</code>. While it is under way, the tab “Task Instances”
shows how far it is; open this page again when it has ended.</p></html>"""
    return HTMLResponse(body, status_code=404, headers=HEADERS)
