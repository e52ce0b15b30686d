"""Back to a former champion, if it still works."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from noria.compute.process import ChildJob
from noria.errors import InputError, StorageAccessError
from noria.pipeline import load_pipeline
from noria.records import Rollback, Snapshot
from noria.stages.promote import promote
from noria.stages.rollback import rollback, rollback_path
from noria.verdicts import Keyring
from noria.workspace import Workspace, run_path
from tests.support.kept_home import KeptHome
from tests.support.proposals import PUPILS, WEAK, open_workspace, propose, write_pipeline


@pytest.fixture(scope="module")
def two_champions(tmp_path_factory: pytest.TempPathFactory, database: Path) -> KeptHome:
    """Two champions one after the other; the second one is in use."""
    workspace = open_workspace(tmp_path_factory.mktemp("two-champions") / "home", database)
    for share in (WEAK, 1.0):
        promote(propose(workspace, trained_on=share), workspace)
    assert stands(workspace) == "2"
    return KeptHome.of(workspace)


@pytest.fixture
def workspace(two_champions: KeptHome) -> Workspace:
    return two_champions.again()


def pupils(workspace: Workspace) -> tuple[str, tuple[Path, ...]]:
    """Name of the pipeline, and where it is looked for."""
    return PUPILS, workspace.settings.pipelines


def stands(workspace: Workspace) -> str:
    champion = workspace.registry.champion(PUPILS)
    assert champion is not None
    return champion.version


def test_one_back_at_a_time(workspace: Workspace) -> None:
    newest = propose(workspace, rows=400, kind="linear")
    assert promote(newest, workspace).verdict == "keep"
    first = rollback(PUPILS, workspace, by="ada", reason="drift", key="monday")
    assert (first.version, first.before, first.champion_version, stands(workspace)) == ("1", "2", "1", "1")
    assert first.run_id == newest.run_id and 0 < first.metrics["r2"] < 1
    assert rollback(PUPILS, workspace, by="ada", reason="drift", key="monday") == first, "a retry goes no further"
    assert stands(workspace) == "1"
    with pytest.raises(InputError, match="the first champion"):
        rollback(PUPILS, workspace, by="ada", reason="drift")
    forward = rollback(PUPILS, workspace, to="2", by="grace", reason="it was the data")
    assert (forward.version, stands(workspace)) == ("2", "2")
    assert workspace.registry.audit(PUPILS) == []
    told = [(e.event, e.by, e.champion_before, e.champion_after) for e in workspace.ledger(PUPILS).entries()][-2:]
    assert told == [("rolled_back", "ada", "2", "1"), ("rolled_back", "grace", "1", "2")]
    assert promote(propose(workspace, trained_on=WEAK), workspace).previous_champion == "2"
    assert rollback(PUPILS, workspace, by="ada", reason="drift").version == "1"


@pytest.mark.parametrize(
    ("to", "words"),
    [("9", "9 of pupils does not exist"), ("2", "is the champion"), ("3", "never in production")],
)
def test_only_to_a_former_champion(workspace: Workspace, to: str, words: str) -> None:
    if to == "3":
        client = MlflowClient(tracking_uri=workspace.settings.registry_url)
        client.create_model_version(PUPILS, "file:///tmp/x", tags=client.get_model_version(PUPILS, "1").tags)
        client.delete_model_version_tag(PUPILS, "3", "noria.crown")
    with pytest.raises(InputError, match=words):
        rollback(PUPILS, workspace, to=to, by="ada", reason="drift")
    assert stands(workspace) == "2"


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_only_to_one_that_still_works(workspace: Workspace, damage: str) -> None:
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    model = Path(client.get_model_version(PUPILS, "1").source.removeprefix("file://")) / "model.skops"
    model.write_bytes(b"") if damage == "changed" else model.unlink()
    with pytest.raises(InputError, match="version 1 of pupils cannot be brought back"):
        rollback(PUPILS, workspace, by="ada", reason="drift")
    assert stands(workspace) == "2"


def test_one_that_cannot_score_todays_rows_stays_where_it_is(workspace: Workspace) -> None:
    """Its column has become text, which it was not trained on."""
    columns = [c.model_dump(mode="json", exclude_defaults=True) for c in load_pipeline(*pupils(workspace)).columns]
    columns[6] = {"name": "reading_score", "type": "string", "aliases": ["reading score"]}
    write_pipeline(pupils(workspace)[1][-1], columns=columns, expectations=[])
    promote(propose(workspace), workspace)
    with pytest.raises(InputError, match="of another kind now: reading_score"):
        rollback(PUPILS, workspace, by="ada", reason="drift")


def test_runs_whose_rows_are_gone_or_cannot_be_read_are_passed_over(workspace: Workspace) -> None:
    """The newest three of five: pruned, of another version of Noria, without its snapshot; and one that is forged."""
    pruned, odd, empty = (propose(workspace, rows=400 + extra, kind="linear") for extra in range(3))
    for run in (empty, odd, pruned):
        promote(run, workspace)
    workspace.lake.remove(run_path(PUPILS, pruned.run_id, "run"))
    workspace.lake.replace(run_path(PUPILS, odd.run_id, "run"), b'{"run_id": "odd"}')
    workspace.lake.remove(workspace.require(empty, "ingest", Snapshot).table)
    entry = workspace.ledger(PUPILS).entries()[-1]
    forger = Workspace(workspace.settings, workspace.lake)
    forger.__dict__["keyring"] = Keyring(("somebody else's key of forty characters",))
    forged = propose(workspace, rows=500, kind="linear")
    forger.ledger(PUPILS).append(entry.model_copy(update={"run_id": forged.run_id, "event": "kept"}))
    champion = workspace.registry.champion(PUPILS)
    done = rollback(PUPILS, workspace, by="ada", reason="drift")
    assert champion is not None and (done.version, done.run_id) == ("1", champion.run_id)


def test_what_an_earlier_attempt_has_left_damaged_does_not_count(workspace: Workspace) -> None:
    for what in ("scored", "verdict"):
        workspace.lake.replace(f"rollbacks/{PUPILS}/monday.{what}", b"{")
    assert rollback(PUPILS, workspace, by="ada", reason="drift", key="monday").version == "1"


def test_who_may_not_read_is_told_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise StorageAccessError("the role is missing")

    monkeypatch.setattr(type(workspace.registry), "fetch", refused)
    with pytest.raises(StorageAccessError):
        rollback(PUPILS, workspace, by="ada", reason="drift")


def test_somebody_gives_a_reason_and_a_key_is_a_name(workspace: Workspace) -> None:
    for words, facts in (
        ("the reason is missing", {"by": "ada", "reason": ""}),
        ("who asks for it is missing", {"by": "", "reason": "drift"}),
        ("is called '../x'", {"by": "ada", "reason": "drift", "key": "../x"}),
    ):
        with pytest.raises(InputError, match=words):
            rollback(PUPILS, workspace, **facts)
    assert stands(workspace) == "2"


def test_an_alias_that_was_moved_by_hand_is_set_right(workspace: Workspace) -> None:
    client = MlflowClient(tracking_uri=workspace.settings.registry_url)
    client.set_registered_model_alias(PUPILS, "champion", "1")
    assert workspace.registry.audit(PUPILS)
    assert rollback(PUPILS, workspace, to="2", by="ada", reason="moved by hand").version == "2"
    assert str(client.get_model_version_by_alias(PUPILS, "champion").version) == "2"
    assert workspace.registry.audit(PUPILS) == []


class _Killed(BaseException):
    pass


def test_a_killed_rollback_is_completed_by_its_key(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(workspace.registry).crown
    with monkeypatch.context() as patch, pytest.raises(_Killed):

        def killed(*args: object) -> None:
            real(*args)  # type: ignore[arg-type]
            raise _Killed

        patch.setattr(type(workspace.registry), "crown", killed)
        rollback(PUPILS, workspace, by="ada", reason="drift", key="monday")
    assert rollback(PUPILS, workspace, by="ada", reason="drift", key="monday").version == stands(workspace) == "1"
    assert [e.event for e in workspace.ledger(PUPILS).entries()].count("rolled_back") == 1


def test_as_a_job_of_its_own(workspace: Workspace) -> None:
    arguments = ["--pipeline", PUPILS, "--key", "tuesday", "--by", "ada", "--reason", "drift", "--to", "1"]
    assert ChildJob("rollback", arguments, workspace.settings).run() == rollback_path(PUPILS, "tuesday")
    record = Rollback.model_validate_json(workspace.lake.read(rollback_path(PUPILS, "tuesday")))
    assert (record.version, record.by, stands(workspace)) == ("1", "ada", "1")
