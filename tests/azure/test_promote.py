"""The promote stage on the twin: lake on Azure storage, champions in the production workspace."""

import os
from pathlib import Path

import mlflow.pyfunc
import mlflow.sklearn
import pytest

from noria.azure import ML, PRODUCTION
from noria.azure.ml_client import ml_client
from noria.models.examples import load_split
from noria.models.store import load_model
from noria.records import Candidate, Snapshot
from noria.registry.package import MODEL_FILE
from noria.settings import CHECKOUT, Settings
from noria.stages.promote import promote
from noria.workspace import Workspace
from tests.azure.twin.client import Twin
from tests.unit.stages.test_promote import propose

pytestmark = pytest.mark.slow


PUPILS = "pupils"
"""The students' pipeline under another name: other tests use the same twin, and its registry."""


def open_workspace(twin: Twin, home: Path, *, production: bool) -> Workspace:
    folder = home / "pipelines" / PUPILS
    folder.mkdir(parents=True)
    spec = (CHECKOUT / "include/pipelines/students/pipeline.yaml").read_text()
    (folder / "pipeline.yaml").write_text(spec.replace("name: students", f"name: {PUPILS}", 1))
    environment = {**os.environ, "NORIA_LAKE_URL": twin.lake_url(), "NORIA_PIPELINES": str(folder.parent)}
    if not production:
        del environment["AIRFLOW_CONN_AZUREML_PRODUCTION"]
    return Workspace.open(Settings.from_env(environment, home=home))


def names(twin: Twin, conn_id: str) -> set[str]:
    return {model.name for model in ml_client(twin.connection(conn_id)).models.list()}


def test_promoted_models_land_in_production_alone_and_load_without_noria(twin: Twin, tmp_path: Path) -> None:
    before = names(twin, ML)
    workspace = open_workspace(twin, tmp_path / "home", production=True)
    run = propose(workspace, kind="xgboost", pipeline=PUPILS)
    decision = promote(run, workspace)
    assert (decision.verdict, decision.champion_version) == ("promote", "1")
    assert PUPILS in names(twin, PRODUCTION) and names(twin, ML) == before
    again = promote(propose(workspace, kind="xgboost", pipeline=PUPILS), workspace)
    assert (again.verdict, again.champion_version) == ("keep", "1")

    production = ml_client(twin.connection(PRODUCTION))
    production.models.download(PUPILS, "1", download_path=tmp_path)
    (folder,) = {file.parent for file in tmp_path.rglob("MLmodel")}
    with workspace.lake.local(workspace.require(run, "ingest", Snapshot).table) as table:
        rows = load_split(table, run.pipeline).holdout.features
    with workspace.lake.local(workspace.require(run, "train", Candidate).model) as file:
        assert (folder / MODEL_FILE).read_bytes() == file.read_bytes()
        expected = load_model(file).predict(rows).tolist()
    for flavour in (mlflow.pyfunc, mlflow.sklearn):
        assert flavour.load_model(str(folder)).predict(rows).tolist() == pytest.approx(expected)
    assert production.models.get(PUPILS, "1").type == "mlflow_model"


def test_without_a_production_workspace_they_stay_where_jobs_run(twin: Twin, tmp_path: Path) -> None:
    workspace = open_workspace(twin, tmp_path, production=False)
    assert promote(propose(workspace, pipeline=PUPILS), workspace).champion_version == "1"
    (version,) = workspace.registry.history(PUPILS)
    assert version.is_champion and PUPILS in names(twin, ML)
