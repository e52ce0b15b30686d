"""What every registry promises, over each back end: who comes in, who becomes the champion, and what is noticed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from noria.azure import ML
from noria.errors import InputError, StaleVerdictError, StorageError, VerdictError
from noria.records import ChampionVersion, SignedVerdict
from noria.registry import Registry, open_azureml_registry, open_registry
from noria.registry.azureml_registry import AzureMLRegistry
from noria.registry.mlflow_registry import MlflowRegistry
from noria.registry.package import MODEL_FILE
from noria.verdicts import Keyring
from tests.azure.twin.client import Twin
from tests.support.learning import pipeline
from tests.support.mlflow_schema import remember_newest_schema
from tests.support.registering import KEYRING, STRANGER, Judged, judged, judged_now, rollback

pytestmark = pytest.mark.slow


class Place(Protocol):
    """A back end, and the ways around Noria that it has."""

    def open(self, keyring: Keyring = KEYRING, *, staging: bool = False) -> Registry:
        """Another client of the same registry."""

    def overwrite(self, name: str, version: str, content: bytes | None) -> None:
        """Change the bytes of a model file, or take it away."""

    def create(self, name: str, tags: dict[str, str], like: str) -> str:
        """Make a version with the files of another one."""


class Mlflow:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, keyring: Keyring = KEYRING, *, staging: bool = False) -> MlflowRegistry:
        url = f"sqlite:///{self._folder}/registry/mlflow.db"
        found = open_registry(url, self._folder, keyring, staging=staging)
        assert isinstance(found, MlflowRegistry)
        return found

    def overwrite(self, name: str, version: str, content: bytes | None) -> None:
        source = self.open()._client.get_model_version(name, version).source
        file = Path(source.removeprefix("file://")) / MODEL_FILE
        file.unlink() if content is None else file.write_bytes(content)

    def create(self, name: str, tags: dict[str, str], like: str) -> str:
        client = self.open()._client
        source = client.get_model_version(name, like).source
        return str(client.create_model_version(name, source, tags=tags).version)


class AzureML:
    def __init__(self, twin: Twin) -> None:
        self._connection = twin.connection(ML)

    def open(self, keyring: Keyring = KEYRING, *, staging: bool = False) -> AzureMLRegistry:
        found = open_azureml_registry(self._connection, keyring, staging=staging)
        assert isinstance(found, AzureMLRegistry)
        return found

    def overwrite(self, name: str, version: str, content: bytes | None) -> None:
        registry = self.open()
        path = registry._client.models.get(name, version).path.partition("/paths/")[2]
        with registry._files(registry._client.datastores.get_default()) as files:
            if content is None:
                files.delete_blob(f"{path}/{MODEL_FILE}")
            else:
                files.upload_blob(f"{path}/{MODEL_FILE}", content, overwrite=True)

    def create(self, name: str, tags: dict[str, str], like: str) -> str:
        from azure.ai.ml.entities import Model

        models = self.open()._client.models
        model = Model(name=name, version="90", path=models.get(name, like).path, tags=tags)
        return str(models.create_or_update(model).version)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One for the module, since its database takes seconds to make; every test has a pipeline of its own."""
    remember_newest_schema()
    return Mlflow(tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def azureml(twin: Twin) -> Place:
    return AzureML(twin)


@pytest.fixture(params=["mlflow", "azureml"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def registry(place: Place) -> Registry:
    return place.open()


@pytest.fixture
def rules(mlflow: Place) -> Registry:
    """For what the base class alone decides, before anything is asked of a back end: one of them shows it."""
    return mlflow.open()


@pytest.fixture
def name() -> str:
    """Never used before: what is registered on a subscription stays."""
    return f"p{uuid.uuid4().hex[:8]}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def promoted(registry: Registry, folder: Path, name: str) -> Callable[..., ChampionVersion]:
    """Promotes the bytes of a run's name."""
    return lambda run_id, **changes: judged_now(registry, folder, name, run_id, **changes).promote(registry)


def is_whole(registry: Registry, name: str, champion: str | None) -> bool:
    found = registry.champion(name)
    return (found.version if found else None) == champion and registry.audit(name) == []


def test_a_new_registry_knows_nothing(registry: Registry, name: str) -> None:
    assert registry.history(name) == [] and registry.next_sequence(name) == 1
    assert is_whole(registry, name, None)


def test_a_version_waits_as_the_challenger_until_it_is_crowned(registry: Registry, name: str, folder: Path) -> None:
    first = judged(folder, name)
    version = first.register(registry)
    assert version.is_challenger and not version.is_champion and version.sequence is None
    assert version.verdict == first.verdict
    assert is_whole(registry, name, None)
    crowned = registry.crown(name, version.version, first.verdict)
    assert crowned.is_champion and not crowned.is_challenger and crowned.sequence == 1
    assert registry.champion(name) == crowned and is_whole(registry, name, version.version)
    assert registry.next_sequence(name) == 2


def test_versions_carry_what_they_came_from(
    registry: Registry, name: str, folder: Path, promoted: Callable[..., ChampionVersion]
) -> None:
    first, second = promoted("r1"), promoted("r2")
    assert first.previous_champion is None and second.previous_champion == first.version
    candidate = judged(folder, name, "r2").candidate
    assert second.metrics == candidate.metrics and second.model_sha256 == candidate.model_sha256
    assert (second.run_id, second.snapshot_id, second.estimator) == ("r2", "s", "ridge")
    assert (second.training_rows, second.forced) == ("rows", None)
    history = registry.history(name)
    assert [(v.version, v.is_champion, v.sequence) for v in history] == [
        (second.version, True, 2),
        (first.version, False, 1),
    ]
    assert registry.fetch(name, first.version, folder).read_bytes() == b"r1"


def test_a_table_of_many_columns_is_described(registry: Registry, name: str, folder: Path) -> None:
    few = [column.model_dump(mode="json", exclude_none=True) for column in pipeline().columns]
    more = [{"name": f"column_{number}", "type": "number"} for number in range(300)]
    first = judged(folder, name, reason="many reasons, " * 100)
    run = first.run.model_copy(update={"pipeline": pipeline(name=name, columns=few + more)})
    registry.register(run, first.candidate, first.verdict, first.file)
    (version,) = registry.history(name)
    assert version.holdout is not None and len(version.holdout.columns) == len(few) + 300
    assert version.verdict == first.verdict


def test_a_second_call_changes_nothing(registry: Registry, name: str, folder: Path) -> None:
    first = judged(folder, name)
    version = first.register(registry)
    assert first.register(registry) == version
    crowned = registry.crown(name, version.version, first.verdict)
    assert registry.crown(name, version.version, first.verdict) == first.register(registry) == crowned
    assert registry.history(name) == [crowned]


# What does not come in


EDITED = r"is not what was signed|is signed with the key"


@pytest.mark.parametrize("field", sorted(SignedVerdict.model_fields))
def test_a_verdict_edited_by_hand_is_refused(rules: Registry, name: str, folder: Path, field: str) -> None:
    first = judged(folder, name)
    others = {"action": "force", "entry_only": True, "sequence": 2, "issued_at": "2020-01-01T00:00:00Z", "version": "1"}
    forged = first.verdict.model_validate({**first.verdict.model_dump(), field: others.get(field, "forged")})
    with pytest.raises(VerdictError, match=EDITED):
        rules.register(first.run, first.candidate, forged, first.file)
    assert rules.history(name) == []
    version = first.register(rules)
    with pytest.raises(VerdictError, match=EDITED):
        rules.crown(name, version.version, forged)
    assert rules.champion(name) is None


WRONG = {
    "unsigned": ({"key_id": "", "signature": ""}, r"signed with the key \(none\)"),
    "another run's": ({"run_id": "r2"}, "the run is r1"),
    "another pipeline's": ({"pipeline": "other"}, "the pipeline is p"),
    "other bytes'": ({"model_sha256": "0" * 64}, "the candidate's model is"),
    "another holdout's": ({"holdout_sha256": "other"}, "the holdout is h"),
    "another snapshot's": ({"snapshot_id": "other"}, "the snapshot is s"),
    "another policy's": ({"policy_sha256": "other"}, "the policy is "),
    "another code's": ({"code": "other"}, "the code is c"),
    "a rollback's": ({"action": "rollback", "version": "1"}, "leave for a rollback, which lets nothing in"),
}


@pytest.mark.parametrize(("changes", "words"), WRONG.values(), ids=list(WRONG))
def test_a_verdict_on_something_else_lets_nothing_in(
    rules: Registry, name: str, folder: Path, changes: dict[str, Any], words: str
) -> None:
    wrong = judged(folder, name).but(**changes)
    if "signature" in changes:
        wrong = Judged(wrong.run, wrong.candidate, wrong.file, wrong.verdict.model_copy(update=changes))
    with pytest.raises(VerdictError, match=words):
        wrong.register(rules)
    assert rules.history(name) == []


def test_a_strangers_key_signs_nothing(rules: Registry, name: str, folder: Path) -> None:
    with pytest.raises(VerdictError, match="is signed with the key") as caught:
        judged(folder, name, keyring=STRANGER).register(rules)
    assert not caught.value.retryable
    assert rules.history(name) == []


def test_a_key_can_be_changed_while_the_old_one_is_kept(place: Place, name: str, folder: Path) -> None:
    first = judged(folder, name).promote(place.open())
    rotated = place.open(Keyring((*STRANGER.keys, *KEYRING.keys)))
    second = judged_now(rotated, folder, name, "r2", keyring=STRANGER).promote(rotated)
    assert is_whole(rotated, name, second.version)
    forgotten = place.open(STRANGER)
    assert [v.verdict is None for v in forgotten.history(name)] == [False, True]
    assert forgotten.audit(name) == [], "older than the champion, and no alias names it"
    (stranger,) = forgotten.strangers(name)
    assert f"{name} version {first.version}: " in stranger and "is signed with the key" in stranger


def test_bytes_swapped_before_the_upload_are_refused(rules: Registry, name: str, folder: Path) -> None:
    first = judged(folder, name)
    first.file.write_bytes(b"swapped")
    with pytest.raises(VerdictError, match="the model file is"):
        first.register(rules)
    assert rules.history(name) == []


def test_bytes_swapped_on_their_way_make_no_version(
    registry: Registry, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, upload = judged(folder, name), registry._upload

    def swapped(run: Any, candidate: Any, model_file: Path) -> Any:
        model_file.write_bytes(b"swapped")
        return upload(run, candidate, model_file)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_upload", swapped)
        with pytest.raises(StorageError, match="was read back with SHA-256"):
            first.register(registry)
    assert registry.history(name) == []
    first.file.write_bytes(b"r1")
    assert is_whole(registry, name, first.promote(registry).version)


def test_bytes_swapped_in_the_store_are_not_crowned(place: Place, registry: Registry, name: str, folder: Path) -> None:
    first = judged(folder, name)
    version = first.register(registry).version
    place.overwrite(name, version, b"swapped")
    with pytest.raises(VerdictError, match="its model file has SHA-256"):
        registry.crown(name, version, first.verdict)
    assert registry.champion(name) is None
    (finding,) = registry.audit(name)
    assert f"{name} version {version}: its model file has SHA-256" in finding
    with pytest.raises(InputError, match="has SHA-256"):
        registry.fetch(name, version, folder)
    with pytest.raises(VerdictError, match="its model file has SHA-256"):  # judged again, it would get a new verdict
        first.but(reason="judged again").register(registry)


def test_a_champion_that_is_swapped_or_gone_is_found(
    place: Place, registry: Registry, name: str, promoted: Callable[..., ChampionVersion], tmp_path: Path
) -> None:
    champion = promoted("r1")
    for content, words in ((b"swapped", "its model file has SHA-256"), (None, MODEL_FILE)):
        place.overwrite(name, champion.version, content)
        (finding,) = registry.audit(name)
        assert f"version {champion.version}, the champion" in finding and words in finding
        assert f"`noria rollback {name} --reason TEXT`" in finding
    with pytest.raises(StorageError) as caught:
        registry.fetch(name, champion.version, tmp_path)
    assert not caught.value.retryable


# What does not become the champion


def test_only_its_own_verdict_crowns_a_version(registry: Registry, name: str, folder: Path) -> None:
    first, second = judged(folder, name, "r1"), judged(folder, name, "r2")
    version = first.register(registry).version
    second.register(registry)
    for wrong, words in (
        (second, "is on run r2"),
        (first.but(model_sha256=second.verdict.model_sha256), "is on model"),
        (first.but(pipeline="other"), "is on pipeline other"),
        (first.but(action="rollback", version="2"), "was never the champion"),
    ):
        with pytest.raises(VerdictError, match=words):
            registry.crown(name, version, wrong.verdict)
    with pytest.raises(StorageError, match=f"{name} has no version 77; expected one of"):
        registry.crown(name, "77", first.verdict)
    assert is_whole(registry, name, None)


@pytest.mark.parametrize(("sequence", "champion"), [(1, None), (2, None), (2, "7"), (3, "1"), (1, "1")])
def test_a_verdict_against_another_champion_is_stale(
    rules: Registry, name: str, folder: Path, sequence: int, champion: str | None
) -> None:
    stands = judged(folder, name).promote(rules)
    stale = judged(folder, name, "r2", sequence, champion)
    with pytest.raises(StaleVerdictError, match=f"after version {stands.version}, which stands by now") as caught:
        stale.register(rules)
    assert caught.value.retryable
    assert [v.version for v in rules.history(name)] == [stands.version]


def test_one_of_two_challengers_wins_and_the_other_is_judged_again(registry: Registry, name: str, folder: Path) -> None:
    ours, theirs = judged(folder, name, "ours"), judged(folder, name, "theirs")
    version = ours.register(registry).version
    champion = theirs.promote(registry)
    with pytest.raises(StaleVerdictError):
        registry.crown(name, version, ours.verdict)
    assert is_whole(registry, name, champion.version)
    again = judged_now(registry, folder, name, "ours").promote(registry)
    assert (again.version, again.sequence, again.previous_champion) == (version, 2, champion.version)
    assert len(registry.history(name)) == 2 and is_whole(registry, name, version)


def test_two_at_the_same_moment_never_both_win(
    place: Place, registry: Registry, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second crowns its version after the first has looked and before it writes."""
    ours, theirs = judged(folder, name, "ours"), judged(folder, name, "theirs")
    mine, others = ours.register(registry).version, theirs.register(registry).version
    write, once = registry._write_tags, [True]

    def write_late(*arguments: Any) -> None:
        if once.pop() if once else False:
            place.open().crown(name, others, theirs.verdict)
        write(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_write_tags", write_late)
        with pytest.raises(StaleVerdictError, match="at the same moment"):
            registry.crown(name, mine, ours.verdict)
    assert is_whole(registry, name, others)
    assert registry.next_sequence(name) == 2


def test_two_at_once_for_real(place: Place, registry: Registry, name: str, folder: Path) -> None:
    waiting = [judged(folder, name, run_id) for run_id in ("r1", "r2")]
    versions = [one.register(registry).version for one in waiting]
    clients, ready = [place.open() for _ in waiting], threading.Barrier(2)
    outcomes: dict[str, Exception | None] = {}

    def crown(client: Registry, version: str, one: Judged) -> None:
        ready.wait()
        try:
            client.crown(name, version, one.verdict)
            outcomes[version] = None
        except (StaleVerdictError, StorageError) as error:
            outcomes[version] = error

    threads = [threading.Thread(target=crown, args=each) for each in zip(clients, versions, waiting, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    winners = [version for version in versions if outcomes[version] is None]
    assert len(winners) <= 1
    champion = registry.champion(name)
    assert [champion.version] == winners if champion else not winners
    for version, one in zip(versions, waiting, strict=True):
        if outcomes[version] is not None:
            again = judged_now(registry, folder, name, one.run.run_id).promote(registry)
            assert again.version == version and is_whole(registry, name, version)
    assert sorted(v.sequence or 0 for v in registry.history(name)) == [1, 2], "one first champion, and one after it"


def test_a_used_verdict_does_not_work_again(
    registry: Registry, name: str, folder: Path, promoted: Callable[..., ChampionVersion]
) -> None:
    """After a rollback, somebody crowns the withdrawn version once more with the verdict that it had."""
    first = promoted("r1")
    second = judged_now(registry, folder, name, "r2")
    withdrawn = second.promote(registry)
    back = registry.crown(name, first.version, rollback(registry, name, first))
    assert (back.version, back.is_champion, back.sequence) == (first.version, True, 3)
    assert back.previous_champion == withdrawn.version
    for version, verdict in ((withdrawn.version, second.verdict), (first.version, first.verdict)):
        assert verdict is not None
        with pytest.raises(VerdictError, match="was used before") as caught:
            registry.crown(name, version, verdict)
        assert not caught.value.retryable
    assert not second.register(registry).is_champion, "a late retry of the run"
    assert is_whole(registry, name, first.version)


def test_a_rollback_goes_to_the_version_that_it_names(
    registry: Registry, name: str, folder: Path, promoted: Callable[..., ChampionVersion]
) -> None:
    first, second = promoted("r1"), promoted("r2")
    waiting = judged_now(registry, folder, name, "r3").register(registry)
    leave = rollback(registry, name, first)
    renamed = KEYRING.sign(leave.model_copy(update={"version": second.version}))
    for version, wrong, words in (
        (second.version, leave, "is on run r1"),
        (first.version, renamed, f"is on version {second.version}"),
        (waiting.version, rollback(registry, name, waiting), "was never the champion"),
    ):
        with pytest.raises(VerdictError, match=words):
            registry.crown(name, version, wrong)
    assert is_whole(registry, name, second.version)
    assert registry.crown(name, first.version, leave).is_champion


def test_a_forced_version_bears_it_for_ever(
    registry: Registry, name: str, folder: Path, promoted: Callable[..., ChampionVersion]
) -> None:
    promoted("r1")
    force = {"action": "force", "by": "grace", "reason": "the old one is wrong about winter"}
    forced = promoted("r2", **force)
    said = "grace: the old one is wrong about winter"
    assert forced.is_champion and forced.forced == said
    promoted("r3")
    registry.crown(name, forced.version, rollback(registry, name, forced))
    assert [v.forced for v in registry.history(name)] == [None, said, None]
    assert is_whole(registry, name, forced.version)
    registry._write_tags(name, forced.version, {"noria.forced": None})
    assert [v.forced for v in registry.history(name)] == [None, said, None], "the verdict still says so"
    assert "noria.forced was removed" in "".join(registry.audit(name))


def test_staging_takes_verdicts_about_production_and_crowns_nothing(place: Place, name: str, folder: Path) -> None:
    staging, ready = place.open(staging=True), judged(folder, name, "r9", 5, "17")
    version = ready.register(staging)
    assert version.is_challenger and ready.register(staging) == version
    with pytest.raises(VerdictError, match="staging"):
        staging.crown(name, version.version, ready.verdict)
    assert is_whole(staging, name, None)


# What was written around the interface


def test_a_version_without_a_verdict_is_found_and_is_no_champion(
    place: Place, registry: Registry, name: str, promoted: Callable[..., ChampionVersion]
) -> None:
    champion = promoted("r1")
    made = place.create(name, {"noria.run_id": "r9", "noria.champion": "9"}, champion.version)
    (finding,) = registry.audit(name)
    assert f"{name} version {made}: it has no verdict" in finding and "Delete it, or its tags" in finding
    assert registry.strangers(name) == []
    stands = registry.champion(name)
    assert stands is not None and stands.version == champion.version


def test_a_version_beside_ours_that_claims_nothing_stops_nothing_and_is_told(
    place: Place, registry: Registry, name: str, promoted: Callable[..., ChampionVersion]
) -> None:
    champion = promoted("r1")
    made = place.create(name, {"noria.run_id": "r9"}, champion.version)
    assert registry.audit(name) == []
    (stranger,) = registry.strangers(name)
    assert stranger.startswith(f"{name} version {made}: it has no verdict")


def test_a_copied_verdict_makes_no_champion(
    place: Place, registry: Registry, name: str, promoted: Callable[..., ChampionVersion]
) -> None:
    """All tags of the champion on a version of somebody else's: the older of the two stands, and both are told."""
    champion = promoted("r1")
    (stored,) = registry._stored(name)
    made = place.create(name, dict(stored.tags), champion.version)
    stands = registry.champion(name)
    assert stands is not None and stands.version == champion.version
    assert f"versions {champion.version} and {made} both bear champion number 1" in "".join(registry.audit(name))


def test_who_only_waits_is_no_champion_by_copied_tags(rules: Registry, name: str, folder: Path) -> None:
    first = judged(folder, name)
    waits = first.but(entry_only=True)
    version = waits.register(rules).version
    with pytest.raises(VerdictError, match="only lets run r1 in, to wait for a person"):
        rules.crown(name, version, waits.verdict)
    (stored,) = rules._stored(name)
    parts = {k.replace("verdict", "crown"): v for k, v in stored.tags.items() if k.startswith("noria.verdict")}
    rules._write_tags(name, version, {**parts, "noria.champion": "1"})
    assert rules.champion(name) is None and "leave to come in and wait" in rules.audit(name)[0]
    rules._write_tags(name, version, dict.fromkeys((*parts, "noria.champion")))
    champion = first.promote(rules)
    assert (champion.verdict, champion.crown) == (waits.verdict, first.verdict) and is_whole(rules, name, version)


FORGED = {
    "no verdict at all": ({"noria.verdict": None}, "has no verdict"),
    "no JSON": ({"noria.verdict": "promote"}, "noria.verdict is no signed verdict"),
    "other bytes": ({"noria.model_sha256": "0" * 64}, "on model"),
    "another run": ({"noria.run_id": "r9"}, "on run r1"),
    "another snapshot": ({"noria.snapshot_id": "t"}, "noria.snapshot_id was changed to t"),
    "another holdout": ({"noria.holdout_sha256": None}, "noria.holdout_sha256 was changed to (none)"),
    "no crown": ({"noria.crown": None}, "made champion number 1 by hand"),
    "another number": ({"noria.champion": "9"}, "noria.champion says 9, not 1"),
}


@pytest.mark.parametrize(("tags", "words"), FORGED.values(), ids=list(FORGED))
def test_tags_changed_by_hand_are_found(
    rules: Registry, name: str, folder: Path, tags: dict[str, str | None], words: str
) -> None:
    version = judged(folder, name).promote(rules).version
    assert is_whole(rules, name, version)
    rules._write_tags(name, version, tags)
    found = "\n".join(rules.audit(name))
    assert words in found and ("`noria " in found or "Set it back" in found)


def test_a_verdict_edited_in_its_tag_is_found_and_dethrones(
    registry: Registry, name: str, promoted: Callable[..., ChampionVersion]
) -> None:
    first, second = promoted("r1"), promoted("r2")
    assert second.verdict is not None
    forged = second.verdict.model_copy(update={"sequence": 9})
    registry._write_tags(name, second.version, {"noria.crown": forged.model_dump_json()})
    stands = registry.champion(name)
    assert stands is not None and stands.version == first.version
    assert "is not what was signed" in "".join(registry.audit(name))


def test_tags_that_say_nothing_break_nothing(
    registry: Registry, name: str, promoted: Callable[..., ChampionVersion]
) -> None:
    first, second = promoted("r1"), promoted("r2")
    registry._write_tags(name, second.version, {"noria.metrics": "{", "noria.crown": "9"})
    garbled, before = registry.history(name)
    assert (garbled.version, garbled.metrics, garbled.sequence) == (second.version, {}, None), "let in it was"
    assert before.version == first.version and before.is_champion
    assert "noria.metrics was removed or garbled" in "".join(registry.audit(name))


def test_an_alias_moved_by_hand_is_found(mlflow: Place, name: str, folder: Path) -> None:
    registry = mlflow.open()
    assert isinstance(registry, MlflowRegistry)
    versions = [judged_now(registry, folder, name, f"r{number}").promote(registry).version for number in (1, 2, 3)]
    client = registry._client
    assert str(client.get_model_version_by_alias(name, "champion").version) == versions[2]
    assert str(client.get_model_version_by_alias(name, "challenger").version) == versions[2]
    for version, words in ((versions[0], "was moved to version 1 by hand"), (versions[1], "unfinished")):
        client.set_registered_model_alias(name, "champion", version)
        (finding,) = registry.audit(name)
        assert words in finding and f"`noria rollback {name} --to {versions[2]} --reason TEXT`" in finding
    client.delete_registered_model_alias(name, "champion")
    assert "moved to version (none)" in registry.audit(name)[0]
    stands = registry.champion(name)
    assert stands is not None and stands.version == versions[2], "the verdicts decide, not the alias"
    registry.crown(name, versions[2], rollback(registry, name, stands))
    assert is_whole(registry, name, versions[2])


# What a crash leaves


class DiedError(BaseException):
    """Stands for the end of the process: nothing catches it."""


def dying(registry: Registry, step: int) -> Registry:
    """A client that dies after so many writes; tests/azure/test_registry_faults.py does this to Azure ML."""
    left = [step]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def call_and_die(*args: Any, **kwargs: Any) -> Any:
            result = call(*args, **kwargs)
            left[0] -= 1
            if not left[0]:
                raise DiedError
            return result

        return call_and_die

    assert isinstance(registry, MlflowRegistry)
    writes = (
        "create_experiment create_run log_batch log_artifacts set_terminated create_registered_model "
        "create_model_version set_model_version_tag delete_model_version_tag set_registered_model_alias"
    )
    for write in writes.split():
        setattr(registry._client, write, wrapped(getattr(registry._client, write)))
    return registry


def test_killed_anywhere_nothing_is_half_registered_and_the_same_verdict_completes_it(
    mlflow: Place, name: str, folder: Path
) -> None:
    """The second champion of a pipeline, whose process dies after its first write; then after its second; and so on."""
    registry = mlflow.open()
    for step in range(1, 50):
        own = f"{name}_{step}"
        first = judged(folder, own).promote(registry)
        second = judged(folder, own, "r2", 2, first.version)
        try:
            second.promote(dying(mlflow.open(), step))
        except DiedError:
            left = registry.history(own)
            assert all(v.verdict and v.holdout and v.training_rows for v in left), "whole or not at all"
            found = registry.audit(own)
            assert not found or "unfinished" in "".join(found), found
            champion = second.promote(registry)
            assert [v.version for v in registry.history(own)] == [champion.version, first.version]
            assert is_whole(registry, own, champion.version)
        else:
            assert step > 4 and is_whole(registry, own, second.register(registry).version)
            return
    pytest.fail("it never ended")


def test_killed_anywhere_another_run_finds_its_way(mlflow: Place, name: str, folder: Path) -> None:
    """The first champion of all; the run that died is never tried again."""
    for step in range(1, 50):
        own = f"{name}_{step}"
        try:
            judged(folder, own).promote(dying(mlflow.open(), step))
        except DiedError:
            champion = judged_now(mlflow.open(), folder, own, "r2").promote(mlflow.open())
            assert is_whole(mlflow.open(), own, champion.version)
        else:
            assert step > 6
            return
    pytest.fail("it never ended")
