"""The ingest stage on a real lake, in this process."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from noria.errors import DataInvalidError, ExitCode, SourceError, StorageError
from noria.records import Run, Snapshot
from noria.settings import Settings
from noria.stages.ingest import ingest
from noria.workspace import Workspace
from tests.support.github import github
from tests.support.http_server import Server, WrongLength, serve
from tests.support.mounts import tmpfs
from tests.support.reference import reference

HEADER = (
    "gender,race/ethnicity,parental level of education,lunch,test preparation course,"
    "math score,reading score,writing score"
)
ROW = "female,group B,bachelor's degree,standard,none,72,72,74"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(Settings.from_env({}, home=tmp_path / "home"))


@pytest.fixture
def server() -> Iterator[Server]:
    with serve() as server:
        yield server


def start(workspace: Workspace, source: str, **overrides: str) -> Run:
    return workspace.create_run(
        "students", source=source, overrides={k.replace("__", "."): v for k, v in overrides.items()}
    )


def table(folder: Path, *rows: str, header: str = HEADER) -> str:
    """A CSV file; its path."""
    path = folder / "pupils.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def stored(workspace: Workspace) -> list[str]:
    """What lies in the data layers, without what a source delivered last."""
    return [p for p in workspace.lake.list("") if p.startswith(("raw/", "typed/")) and "/etags/" not in p]


def test_the_sample_becomes_a_snapshot_with_its_manifests(workspace: Workspace) -> None:
    snapshot = ingest(start(workspace, "sample://students?rows=1000&seed=7"), workspace)
    assert (snapshot.rows, snapshot.quarantined_rows, snapshot.reused) == (1000, 0, False)
    base = f"typed/students/{snapshot.snapshot_id}"
    assert stored(workspace) == [
        f"raw/students/{snapshot.sha256}/data.csv",
        f"raw/students/{snapshot.sha256}/manifest.json",
        f"{base}/manifest.json",
        f"{base}/table.parquet",
    ]
    raw = json.loads(workspace.lake.read(f"raw/students/{snapshot.sha256}/manifest.json"))
    assert raw["source"] == "sample://students?rows=1000&seed=7"
    assert raw["bytes"] == snapshot.bytes == len(workspace.lake.read(snapshot.raw))
    manifest = Snapshot.model_validate_json(workspace.lake.read(f"{base}/manifest.json"))
    assert manifest == snapshot
    with workspace.lake.local(snapshot.table) as file:
        assert pq.read_table(file).column_names == list(snapshot.table_schema)
    assert not list((workspace.settings.home / "tmp").iterdir())


def test_same_bytes_from_elsewhere_give_the_same_snapshot_and_store_nothing(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    first = ingest(start(workspace, table(tmp_path, ROW, ROW)), workspace)
    before = stored(workspace)
    url = server.put("/pupils.csv", (tmp_path / "pupils.csv").read_bytes(), etag='"v1"')
    second = ingest(start(workspace, url), workspace)
    assert stored(workspace) == before
    assert second.reused
    assert second.source == url
    assert second.etag == '"v1"'
    assert second.snapshot_id == first.snapshot_id
    assert second.fetched_at > first.fetched_at


def test_a_source_is_asked_for_changes_only(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    content = Path(table(tmp_path, ROW)).read_bytes()
    url = server.put("/pupils.csv", content, etag='"v1"')
    first, second = (ingest(start(workspace, url), workspace) for _ in range(2))
    assert server.requests[1].headers["if-none-match"] == '"v1"'
    assert second.reused
    assert second.snapshot_id == first.snapshot_id
    server.put("/pupils.csv", content + ROW.encode() + b"\n", etag='"v2"')
    third = ingest(start(workspace, url), workspace)
    assert (third.rows, third.etag, third.reused) == (2, '"v2"', False)


def test_not_modified_but_read_otherwise_is_a_new_snapshot_of_the_kept_bytes(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    url = server.put("/pupils.csv", Path(table(tmp_path, ROW)).read_bytes(), etag='"v1"')
    first = ingest(start(workspace, url), workspace)
    second = ingest(start(workspace, url, columns__5__range="{min: 0, max: 200}"), workspace)
    assert second.sha256 == first.sha256
    assert second.snapshot_id != first.snapshot_id
    assert len([p for p in stored(workspace) if p.startswith("raw/")]) == 2


def test_not_modified_but_our_bytes_are_lost_brings_them_again(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    url = server.put("/pupils.csv", Path(table(tmp_path, ROW)).read_bytes(), etag='"v1"')
    first = ingest(start(workspace, url), workspace)
    workspace.lake.remove(f"raw/students/{first.sha256}")
    workspace.lake.remove(f"typed/students/{first.snapshot_id}")
    second = ingest(start(workspace, url), workspace)
    assert not second.reused
    assert second.snapshot_id == first.snapshot_id
    assert workspace.lake.exists(second.raw)


def test_real_students_from_a_repository_with_its_commit(tmp_path: Path) -> None:
    repo = tmp_path / "hub" / "octo" / "data"
    repo.mkdir(parents=True)
    (repo / "students.csv").write_bytes(reference("students_performance_kaggle.csv").read_bytes())
    with github(tmp_path / "hub", token="s3cret") as hub:
        environ = {
            "NORIA_GITHUB_RAW_URL": hub.url,
            "NORIA_GITHUB_API_URL": hub.url,
            "AIRFLOW_CONN_GITHUB_DEFAULT": json.dumps({"conn_type": "github", "password": "s3cret"}),
        }
        workspace = Workspace.open(Settings.from_env(environ, home=tmp_path / "home"))
        first = ingest(start(workspace, "github://octo/data/students.csv@main"), workspace)
        second = ingest(start(workspace, "github://octo/data/students.csv@main"), workspace)
        assert (first.rows, first.quarantined_rows) == (1000, 0)
        assert first.commit == second.commit == hub.commit("octo", "data")
        assert second.reused
    assert not [f for f in (tmp_path / "home").rglob("*") if f.is_file() and b"s3cret" in f.read_bytes()]


def test_a_few_misfits_go_to_quarantine_and_the_run_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    rows = [ROW] * 40
    rows[10] = ROW.replace(",72,72,", ",400,72,")
    rows[20] = ROW.replace(",72,72,", ",,72,")
    snapshot = ingest(start(workspace, table(tmp_path, *rows)), workspace)
    assert (snapshot.rows, snapshot.quarantined_rows) == (38, 2)
    assert snapshot.quarantine_reasons == {"math_score: above 100": 1, "math_score: missing": 1}
    assert snapshot.quarantine
    kept = list(csv.DictReader(workspace.lake.read(snapshot.quarantine).decode().splitlines()))
    assert kept == [
        {"row": "11", "column": "math_score", "value": "400", "reason": "above 100"},
        {"row": "21", "column": "math_score", "value": "", "reason": "missing"},
    ]


@pytest.mark.parametrize(("nulls", "stops"), [(50, False), (51, True)])
def test_five_percent_of_nulls_are_the_declared_limit(
    workspace: Workspace, tmp_path: Path, nulls: int, stops: bool
) -> None:
    rows = [ROW.replace(",72,72,", ",,72,")] * nulls + [ROW] * (1000 - nulls)
    run = start(workspace, table(tmp_path, *rows))
    if not stops:
        assert ingest(run, workspace).rows == 950
        return
    with pytest.raises(
        DataInvalidError, match=r"51 of 1000 rows \(5\.1%\).*math_score: missing \(51\).*5\.0%"
    ) as caught:
        ingest(run, workspace)
    assert caught.value.exit_code == ExitCode.INVALID_DATA
    assert "quarantine.csv" in str(caught.value)
    quarantine = next(p for p in stored(workspace) if p.endswith("quarantine.csv"))
    assert workspace.lake.url(quarantine) in str(caught.value)
    assert workspace.lake.read(quarantine).count(b"\n") == 52


def test_the_share_is_judged_for_known_bytes_as_well(workspace: Workspace, tmp_path: Path) -> None:
    source = table(tmp_path, *[ROW] * 9, ROW.replace("group B", "group Z"))
    ingest(start(workspace, source, quarantine__max_share="0.1"), workspace)
    with pytest.raises(DataInvalidError, match=r"10\.0%"):
        ingest(start(workspace, source), workspace)


def test_a_table_of_misfits_alone_never_passes(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(DataInvalidError, match="1 of 1 rows"):
        ingest(start(workspace, table(tmp_path, ROW + ",9"), quarantine__max_share="1"), workspace)


def test_duplicate_rows_stay_and_are_counted_in_the_log(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="noria")
    other = ROW.replace(",72,72,", ",60,72,")
    assert ingest(start(workspace, table(tmp_path, ROW, other, ROW, ROW)), workspace).rows == 4
    assert "2 rows equal an earlier row" in caplog.text


def test_declared_bytes_are_fetched_even_if_the_server_says_not_modified(
    workspace: Workspace, server: Server, tmp_path: Path
) -> None:
    content = Path(table(tmp_path, ROW)).read_bytes()
    url = server.put("/pupils.csv", content, etag='"v1"')
    ingest(start(workspace, url), workspace)
    with pytest.raises(SourceError, match=r"sha256 is .*; expected 0000"):
        ingest(start(workspace, url, source__sha256="'" + "0" * 64 + "'"), workspace)
    known = ingest(start(workspace, url, source__sha256=hashlib.sha256(content).hexdigest()), workspace)
    assert known.reused
    assert [r.headers.get("if-none-match") for r in server.requests] == [None, None, '"v1"']


def test_extra_columns_are_in_the_record_and_the_log(
    workspace: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = table(tmp_path, ROW + ",x,1", header=HEADER + ",Comment,id")
    assert ingest(start(workspace, source), workspace).extra_columns == ("Comment", "id")
    assert "left out: Comment, id" in caplog.text


def test_a_file_that_is_no_such_table_leaves_nothing(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    sources = [
        table(tmp_path, ROW, header=HEADER.replace("lunch", "meal")),
        server.put("/page.csv", b"<!doctype html><title>Sign in</title>", content_type="text/html"),
        server.url + "/none.csv",
        str(tmp_path / "none.csv"),
    ]
    for source in sources:
        with pytest.raises(SourceError, match=re.escape(source)):
            ingest(start(workspace, source), workspace)
    assert stored(workspace) == []
    assert not list((workspace.settings.home / "tmp").iterdir())


def test_a_file_cut_by_a_wrong_length_shows_in_quarantine(workspace: Workspace, server: Server, tmp_path: Path) -> None:
    content = Path(table(tmp_path, *[ROW] * 100)).read_bytes()
    url = server.put("/pupils.csv", content, WrongLength(-20))
    snapshot = ingest(start(workspace, url), workspace)
    assert (snapshot.rows, snapshot.quarantine_reasons) == (99, {"row: too few fields": 1})


def test_a_full_disk_is_named_and_a_retry_completes(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=2m") as disk:
        workspace = Workspace.open(Settings.from_env({}, home=disk / "home"))
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_900_000))
        run = start(workspace, "sample://students?rows=5000")
        with pytest.raises(StorageError, match=rf"{disk}/home.*No space left on device.*Free some space"):
            ingest(run, workspace)
        assert stored(workspace) == []
        assert not list((disk / "home" / "tmp").iterdir())
        ballast.unlink()
        assert ingest(run, workspace).rows == 5000


def test_a_lake_without_permission_is_named(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "lake", "ro") as lake:
        settings = Settings.from_env({}, home=tmp_path / "home")
        run = start(Workspace.open(settings), "sample://students?rows=50")
        with pytest.raises(StorageError, match=rf"cannot write {lake}/raw/.*permissions"):
            ingest(run, Workspace.open(settings.replace(lake_url=str(lake))))
