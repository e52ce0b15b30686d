"""The ingest stage with its lake on ADLS Gen2: what it leaves there, and that nothing new costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from noria.errors import StorageUnavailableError
from noria.lake.abfs import client
from noria.records import Snapshot
from noria.settings import Settings
from noria.stages.ingest import ingest
from noria.workspace import Workspace
from tests.azure.twin.client import Twin
from tests.support.github import github

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(twin: Twin, tmp_path: Path) -> Settings:
    return Settings.from_env(twin.environment | {"NORIA_LAKE_URL": twin.lake_url()}, home=tmp_path / "home")


def ingested(settings: Settings, source: str) -> Snapshot:
    workspace = Workspace.open(settings)  # as a new process does
    return ingest(workspace.create_run("students", source=source), workspace)


def test_the_snapshot_is_in_the_lake_with_data_before_manifest(settings: Settings, twin: Twin, tmp_path: Path) -> None:
    snapshot = ingested(settings, "sample://students?rows=300")
    lake = Workspace.open(settings).lake
    raw, typed = f"raw/students/{snapshot.sha256}", f"typed/students/{snapshot.snapshot_id}"
    assert list(lake.list("raw")) == [f"{raw}/data.csv", f"{raw}/manifest.json"]
    assert list(lake.list("typed")) == [f"{typed}/manifest.json", f"{typed}/table.parquet"]
    written = [seen.path.rpartition("/")[2] for seen in twin.requests("storage", "PUT") if seen.status == 201]
    assert written == ["run.json", "data.csv", "manifest.json", "table.parquet", "manifest.json"]
    local = Workspace.open(Settings.from_env({}, home=tmp_path / "local"))
    there = ingest(local.create_run("students", source="sample://students?rows=300"), local)
    for path in (snapshot.raw, snapshot.table):
        with lake.local(path) as far, local.lake.local(path) as near:
            assert far.read_bytes() == near.read_bytes()
    assert there.snapshot_id == snapshot.snapshot_id


@pytest.mark.parametrize("modified", [False, True])
def test_nothing_new_uploads_nothing(settings: Settings, twin: Twin, tmp_path: Path, *, modified: bool) -> None:
    """Whether the source itself says that nothing has changed, or its bytes do."""
    sample = ingested(settings, "sample://students?rows=300")
    if modified:
        twin.reset()
        again = ingested(settings, "sample://students?rows=300")
    else:
        hub_file = tmp_path / "hub" / "someone" / "courses" / "data.csv"
        hub_file.parent.mkdir(parents=True)
        with Workspace.open(settings).lake.local(sample.raw) as raw:
            hub_file.write_bytes(raw.read_bytes())
        with github(tmp_path / "hub") as hub:
            at_hub = Settings.from_env(
                settings.full_environment() | {"NORIA_GITHUB_RAW_URL": hub.url, "NORIA_GITHUB_API_URL": hub.url},
                home=settings.home,
            )
            ingested(at_hub, "github://someone/courses/data.csv@main")
            twin.reset()
            again = ingested(at_hub, "github://someone/courses/data.csv@main")
    assert again.reused and again.snapshot_id == sample.snapshot_id
    written = [seen.path.rpartition("/")[2] for seen in twin.requests("storage", "PUT")]
    assert written == ["run.json"]
    assert not twin.requests("storage", "DELETE")


def test_an_upload_that_breaks_off_is_completed_by_the_next_attempt(
    settings: Settings, twin: Twin, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.shared.cache_clear()
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.2)
    twin.fault("storage", method="PUT", path="table.parquet", status=503, headers={"x-ms-error-code": "ServerBusy"})
    with pytest.raises(StorageUnavailableError, match=r"table\.parquet.*503 ServerBusy"):
        ingested(settings, "sample://students?rows=300")
    assert not list(Workspace.open(settings).lake.list("typed"))
    twin.reset()
    snapshot = ingested(settings, "sample://students?rows=300")
    assert not snapshot.reused
    assert "data.csv" not in [seen.path.rpartition("/")[2] for seen in twin.requests("storage", "PUT")]
    client.shared.cache_clear()
