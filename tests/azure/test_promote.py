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
from noria.settings import Settings
from noria.stages.promote import promote
from noria.workspace import Workspace
from tests.azure.twin.client import Twin
from tests.support.proposals import PUPILS, propose, write_pipeline

pytestmark = pytest.mark.slow


LONERS = "loners"
"""A pipeline of its own: tests share the twin's registries, and each has a key of its own."""


def open_workspace(twin: Twin, home: Path, name: str, *, production: bool) -> Workspace:
    folder = write_pipeline(home / "pipelines", name=name)
    environment = {**os.environ, "NORIA_LAKE_URL": twin.lake_url(), "NORIA_PIPELINES": str(folder)}
    if not production:
        del environment["AIRFLOW_CONN_AZUREML_PRODUCTION"]
    return Workspace.open(Settings.from_env(environment, home=home))


def names(twin: Twin, conn_id: str) -> set[str]:
    return {model.name for model in ml_client(twin.connection(conn_id)).models.list()}


def test_promoted_models_wait_in_staging_land_in_production_and_load_without_noria(twin: Twin, tmp_path: Path) -> None:
    workspace = open_workspace(twin, tmp_path / "home", PUPILS, production=True)
    run = propose(workspace, kind="xgboost", pipeline=PUPILS)
    decision = promote(run, workspace)
    assert (decision.verdict, decision.champion_version) == ("promote", "1")
    assert PUPILS in names(twin, PRODUCTION) and PUPILS in names(twin, ML)
    assert workspace.staging.champion(PUPILS) is None and workspace.registry.champion(PUPILS) is not None
    assert workspace.registry.audit(PUPILS) == workspace.staging.audit(PUPILS) == []
    (entry,) = workspace.ledger(PUPILS).entries()
    assert (entry.event, entry.verdict_id) == ("promoted", decision.verdict_id)
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
    workspace = open_workspace(twin, tmp_path, LONERS, production=False)
    assert promote(propose(workspace, pipeline=LONERS), workspace).champion_version == "1"
    (version,) = workspace.registry.history(LONERS)
    assert version.is_champion and LONERS in names(twin, ML)
