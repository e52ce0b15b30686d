"""What every registry promises, over each back end."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from noria.azure import ML
from noria.errors import InputError
from noria.gate import Champion, decide
from noria.pipeline import Gate
from noria.records import Candidate, Decision, Run
from noria.registry import Registry, open_azureml_registry, open_registry
from tests.azure.twin.client import Twin
from tests.support.candidates import R2
from tests.support.learning import pipeline

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """One for the module, since its database takes seconds to make; every test has a pipeline of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    return open_registry(f"sqlite:///{folder}/registry/mlflow.db", folder)


@pytest.fixture
def azureml(twin: Twin) -> Registry:
    return open_azureml_registry(twin.connection(ML))


@pytest.fixture(params=["mlflow", "azureml"])
def registry(request: pytest.FixtureRequest) -> Registry:
    found: Registry = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def name() -> str:
    """Never used before: what is registered on a subscription stays."""
    return f"p{uuid.uuid4().hex[:8]}"


def a_run(name: str, run_id: str) -> Run:
    return Run(run_id=run_id, pipeline=pipeline(name=name), code="c", created_at="2026-01-01T00:00:00Z")


def promotion(file: Path, content: bytes, champion: str | None = None) -> tuple[Candidate, Decision]:
    file.write_bytes(content)
    candidate = R2.model_copy(
        update={"model_sha256": hashlib.sha256(content).hexdigest(), "model_types": ("numpy.dtype",)}
    )
    rival = Champion(champion, metrics={"r2": 0.1}) if champion else None
    return candidate, decide(candidate, rival, Gate())


def test_a_new_registry_knows_nothing(registry: Registry, name: str) -> None:
    assert registry.champion(name) is None and registry.history(name) == []


def test_versions_carry_what_they_came_from_and_the_alias_moves(registry: Registry, name: str, tmp_path: Path) -> None:
    first = registry.register(a_run(name, "r1"), *promotion(tmp_path / "m", b"one"), tmp_path / "m")
    assert first.is_champion and first.previous_champion is None
    candidate, decision = promotion(tmp_path / "m", b"two", first.version)
    second = registry.register(a_run(name, "r2"), candidate, decision, tmp_path / "m")
    assert registry.champion(name) == second
    assert second.previous_champion == first.version and second.run_id == "r2"
    assert second.metrics == candidate.metrics and second.model_sha256 == candidate.model_sha256
    assert (second.snapshot_id, second.estimator) == ("s", "ridge")
    assert [v.version for v in registry.history(name)] == [second.version, first.version]
    assert [v.is_champion for v in registry.history(name)] == [True, False]
    assert registry.fetch(name, first.version, tmp_path).read_bytes() == b"one"


def test_a_table_of_many_columns_is_described(registry: Registry, name: str, tmp_path: Path) -> None:
    few = [column.model_dump(mode="json", exclude_none=True) for column in pipeline().columns]
    more = [{"name": f"column_{number}", "type": "number"} for number in range(300)]
    run = a_run(name, "r1").model_copy(update={"pipeline": pipeline(name=name, columns=few + more)})
    registry.register(run, *promotion(tmp_path / "m", b"one"), tmp_path / "m")
    (version,) = registry.history(name)
    assert version.holdout is not None and len(version.holdout.columns) == len(few) + 300


def test_a_second_call_changes_nothing(registry: Registry, name: str, tmp_path: Path) -> None:
    what = promotion(tmp_path / "m", b"one")
    first = registry.register(a_run(name, "r1"), *what, tmp_path / "m")
    assert registry.register(a_run(name, "r1"), *what, tmp_path / "m") == first
    assert len(registry.history(name)) == 1


def test_a_late_retry_does_not_take_the_alias_from_a_newer_champion(
    registry: Registry, name: str, tmp_path: Path
) -> None:
    old = promotion(tmp_path / "old", b"old")
    first = registry.register(a_run(name, "r1"), *old, tmp_path / "old")
    second = registry.register(a_run(name, "r2"), *promotion(tmp_path / "new", b"new", first.version), tmp_path / "new")
    registry.register(a_run(name, "r1"), *old, tmp_path / "old")
    champion = registry.champion(name)
    assert champion is not None and champion.version == second.version


@pytest.mark.parametrize("changes", [{"verdict": "keep"}, {"verdict": "reject"}, {"dry_run": True}])
def test_only_a_promotion_is_registered(registry: Registry, name: str, tmp_path: Path, changes: dict[str, Any]) -> None:
    candidate, decision = promotion(tmp_path / "m", b"one")
    with pytest.raises(ValueError, match="nothing to register"):
        registry.register(a_run(name, "r"), candidate, decision.model_copy(update=changes), tmp_path / "m")
    assert registry.history(name) == []


def test_other_bytes_than_the_tag_says_are_refused(registry: Registry, name: str, tmp_path: Path) -> None:
    candidate, decision = promotion(tmp_path / "m", b"one")
    (tmp_path / "m").write_bytes(b"tampered")
    version = registry.register(a_run(name, "r"), candidate, decision, tmp_path / "m")
    with pytest.raises(InputError, match="has SHA-256"):
        registry.fetch(name, version.version, tmp_path)
