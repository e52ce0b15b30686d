"""Attacks on verdicts, the registry and the stages: the real promotion on a lake and an MLflow registry on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial, wraps
from pathlib import Path
from typing import Any

from noria.bench.gate.attacks.attack import Attack, RefusedAttackError
from noria.bench.gate.attacks.world import GATE, NAME, World
from noria.errors import NoriaError
from noria.lake import scratch
from noria.pipeline import Gate
from noria.records import Decision, Run, SignedVerdict
from noria.stages.promote import promote
from noria.verdicts import new_id
from noria.workspace import run_path, to_json

_WEAK = 0.03
"""Share of the training rows that a model sees which the champion is no worse than."""


# Verdicts


def _verdict(world: World, run: Run, **changes: Any) -> SignedVerdict:
    """What the gate would sign for a run's candidate now."""
    candidate, registry = world.candidate(run), world.workspace.registry
    champion = registry.champion(NAME)
    verdict = SignedVerdict(
        id=new_id(),
        action="promote",
        pipeline=NAME,
        run_id=run.run_id,
        model_sha256=candidate.model_sha256,
        holdout_sha256=candidate.holdout_sha256,
        policy_sha256=candidate.policy_sha256,
        snapshot_id=candidate.snapshot_id,
        code=candidate.code,
        sequence=registry.next_sequence(NAME),
        previous_champion=champion.version if champion else None,
        by="gate",
        reason="it is better",
        issued_at=world.workspace.clock(),
    )
    return world.workspace.keyring.sign(verdict.model_copy(update=changes))


def _enter(world: World, run: Run, verdict: SignedVerdict, model_file: Path | None = None) -> None:
    """Register and crown."""
    candidate, registry = world.candidate(run), world.workspace.registry
    with world.workspace.lake.local(candidate.model) as judged:
        version = registry.register(run, candidate, verdict, model_file or judged)
    registry.crown(NAME, version.version, verdict)


def edited(world: World, attacked: bool) -> None:
    """Leave for a good model, with another model's bytes and run written in."""
    verdict = _verdict(world, good := world.propose())
    if not attacked:
        return _enter(world, good, verdict)
    bad = world.propose(part=_WEAK)
    changes = {"run_id": bad.run_id, "model_sha256": world.candidate(bad).model_sha256}
    return _enter(world, bad, verdict.model_copy(update=changes))


def of_another_run(world: World, attacked: bool) -> None:
    """Leave for one run shown for another."""
    good, bad = world.propose(), world.propose(part=_WEAK)
    _enter(world, bad if attacked else good, _verdict(world, good))


def swapped(world: World, attacked: bool) -> None:
    """The file that is uploaded is another one than was judged."""
    good, bad = world.propose(), world.propose(part=_WEAK)
    verdict = _verdict(world, good)
    with world.workspace.lake.local(world.candidate(bad).model) as other:
        _enter(world, good, verdict, other if attacked else None)


def swapped_later(world: World, attacked: bool) -> None:
    """The file is changed in the registry between registering and crowning."""
    good = world.propose()
    verdict, candidate, registry = _verdict(world, good), world.candidate(good), world.workspace.registry
    with world.workspace.lake.local(candidate.model) as judged:
        version = registry.register(good, candidate, verdict, judged)
    if attacked:
        file = next(f for f in world.artifacts.rglob("model.skops") if f.read_bytes() == _bytes(world, good))
        file.write_bytes(_bytes(world, world.champion_run))
    registry.crown(NAME, version.version, verdict)


def _bytes(world: World, run: Run) -> bytes:
    return world.workspace.lake.read(world.candidate(run).model)


def used_twice(world: World, attacked: bool) -> None:
    """A former champion is brought back with the verdict that once made it the champion."""
    old, new = world.propose(part=0.5), world.propose()
    verdict = _verdict(world, old)
    _enter(world, old, verdict)
    _enter(world, new, _verdict(world, new))
    if attacked:
        _enter(world, old, verdict)


def stale(world: World, attacked: bool) -> None:
    """Another process promotes between verdict and crown."""
    ours, theirs = world.propose(part=0.5), world.propose()
    verdict = _verdict(world, ours)
    if attacked:
        _enter(world, theirs, _verdict(world, theirs))
    _enter(world, ours, verdict)


# The promotion as a stage


def trained_on_the_holdout(world: World, attacked: bool) -> Decision:
    """The rows that it has seen are known by hash, whatever its metrics are."""
    return promote(world.propose(also=world.split.holdout if attacked else None), world.workspace)


def tuned_on_the_holdout(world: World, attacked: bool) -> Decision:
    """Only the search has seen the holdout; the model was fitted to the training rows."""
    return promote(world.propose(searched=world.split.holdout if attacked else None), world.workspace)


def hidden(world: World, attacked: bool) -> Decision:
    """Trained on the holdout, and its list of seen rows says otherwise: it is better than it can be."""
    holdout = world.split.holdout if attacked else None
    return promote(world.propose(kind="random_forest", also=holdout, honest=False), world.workspace)


def loosened(world: World, attacked: bool) -> Decision:
    """The frozen policy of the run is edited after its training."""
    run = world.propose()
    if attacked:
        gate = Gate.model_validate({**GATE, "alpha": 0.5})
        run = run.model_copy(update={"pipeline": run.pipeline.model_copy(update={"gate": gate})})
        world.workspace.lake.replace(run_path(NAME, run.run_id, "run"), to_json(run))
    return promote(run, world.workspace)


def overridden(world: World, attacked: bool) -> Decision:
    """The run is started with an override that takes the threshold away, which stands in the folder."""
    strict = {"thresholds": [{"metric": "r2", "min": 0.999}]}
    if attacked:
        world.write_policy(strict)
    return promote(world.propose(gate={"gate.thresholds": "[]"}), world.workspace)


def not_asked(world: World, attacked: bool) -> Decision:
    """The folder's policy asks people, and the run is started with an override that asks nobody.

    Raises:
        RefusedAttackError: They are asked, and the champion is the one before.
    """
    if attacked:
        world.write_policy({**GATE, "approval": {"timeout_hours": 24}})
    run, before = world.propose(gate={"gate.approval": "null"}), world.workspace.registry.champion(NAME)
    decision = promote(run, world.workspace)
    if decision.waiting and world.workspace.registry.champion(NAME) == before:
        raise RefusedAttackError("it waits for a person's approval, as the folder's policy asks")
    return decision


def wrong_clock(world: World, attacked: bool, *, year: int) -> Decision:
    """A clock that stands in the past, so that old data is fresh, or in the future, so that nothing comes after it."""
    run = world.propose()
    workspace = world.open(clock=lambda: datetime(year, 1, 1, tzinfo=UTC)) if attacked else world.workspace
    return promote(run, workspace)


def around(world: World, attacked: bool) -> Decision | None:
    """Somebody makes a version with MLflow's own client and calls it the champion."""
    from mlflow import MlflowClient

    run, bad = world.propose(), world.propose(part=_WEAK)
    if attacked:
        url = world.settings.registry_url
        client = MlflowClient(tracking_uri=url, registry_uri=url)
        version = client.create_model_version(NAME, world.artifacts.as_uri(), tags={"noria.run_id": bad.run_id})
        client.set_registered_model_alias(NAME, "champion", version.version)
        if not any("around Noria" in finding for finding in world.workspace.registry.audit(NAME)):
            return None
    return promote(run, world.workspace)


def gone(world: World, attacked: bool) -> Decision:
    """The champion's file is deleted: no free win for the next one."""
    run = world.propose()
    if attacked:
        for file in world.artifacts.rglob("model.skops"):
            file.unlink()
    return promote(run, world.workspace)


# Crashes


class _KilledError(BaseException):
    """What nothing catches."""


def crashes(world: World, attacked: bool) -> None:
    """The process dies before and after every write to MLflow; then nothing is half-registered, and a retry completes.

    Raises:
        RefusedAttackError: So it is.
    """
    from mlflow import MlflowClient

    run = world.propose()
    verdict = _verdict(world, run)
    with _counted(MlflowClient, at=None) as writes:
        _enter(world, run, verdict)
    if not attacked:
        return
    if missed := set(WRITES) - set(writes):
        raise NoriaError(f"registering did not write by {', '.join(sorted(missed))}: nothing is known of a crash there")
    for place in range(len(writes)):
        for after in (False, True):
            world.restore_registry()
            if problem := _crash(world, run, verdict, place, after=after):
                when = "after" if after else "before"
                raise NoriaError(f"killed {when} write {place + 1} ({writes[place]}): {problem}")
    raise RefusedAttackError(
        f"killed before and after each of {len(writes)} writes to the registry ({', '.join(dict.fromkeys(writes))}): "
        "nothing was half-registered, and every retry completed"
    )


def _crash(world: World, run: Run, verdict: SignedVerdict, place: int, *, after: bool) -> str | None:
    """What is wrong after a kill at one place and a retry, if anything is."""
    from mlflow import MlflowClient

    try:
        with _counted(MlflowClient, at=place, after=after):
            _enter(world, run, verdict)
    except _KilledError:
        pass
    else:
        return "it was not killed"
    if half := _half(world):
        return half
    world.workspace = world.open()
    _enter(world, run, verdict)
    registry = world.workspace.registry
    champion = registry.champion(NAME)
    own = [version for version in registry.history(NAME) if version.run_id == run.run_id]
    if champion is None or champion.run_id != run.run_id or len(own) != 1:
        return f"the retry left {len(own)} versions, and the champion is {champion and champion.run_id}"
    return "; ".join(registry.audit(NAME)) or None


def _half(world: World) -> str | None:
    """A version that counts and cannot be used, if there is one; the champion among them."""
    registry = world.open().registry
    champion = registry.champion(NAME)
    if champion is None:
        return "there is no champion any more"
    with scratch(world.settings.home / "tmp") as folder:
        for version in registry.history(NAME):
            if version.verdict is None:
                return f"version {version.version} has no verdict"
            registry.fetch(NAME, version.version, folder / version.version)
    return None


WRITES = (
    "create_run", "log_batch", "log_artifacts", "set_terminated", "create_model_version", "set_registered_model_alias",
    "set_model_version_tag",
)  # fmt: skip
"""Methods of MLflow's client by which a version is registered and crowned where there is a champion."""


@contextmanager
def _counted(kind: Any, *, at: int | None, after: bool = False) -> Iterator[list[str]]:
    """Names of the writes of MLflow's client, in order; the process "dies" before or after one of them."""
    done: list[str] = []
    originals = {name: getattr(kind, name) for name in WRITES}

    def counting(name: str, original: Any) -> Any:
        @wraps(original)
        def write(*args: Any, **kwargs: Any) -> Any:
            done.append(name)
            if at == len(done) - 1 and not after:
                raise _KilledError
            answer = original(*args, **kwargs)
            if at == len(done) - 1:
                raise _KilledError
            return answer

        return write

    try:
        for name, original in originals.items():
            setattr(kind, name, counting(name, original))
        yield done
    finally:
        for name, original in originals.items():
            setattr(kind, name, original)


ATTACKS = (
    Attack("model trained on the holdout", "leakage", trained_on_the_holdout, "holdout rows"),
    Attack("model trained on the holdout that hides it", "plausible", hidden),
    Attack("model tuned on the holdout", "leakage", tuned_on_the_holdout, "holdout rows"),
    Attack("verdict edited by hand", "VerdictError", edited, "changed afterwards"),
    Attack("verdict of another run", "VerdictError", of_another_run, "the run is"),
    Attack("model bytes swapped after the verdict", "VerdictError", swapped, "the model file is"),
    Attack("model bytes swapped in the registry", "VerdictError", swapped_later, "its model file has SHA-256"),
    Attack("verdict used twice", "VerdictError", used_twice, "was used before"),
    Attack("policy loosened between training and promotion", "policy", loosened),
    Attack("policy loosened by an override", "policy", overridden, "0.999"),
    Attack("approval loosened by an override", "RefusedAttackError", not_asked, "waits for a person"),
    Attack("stale champion", "StaleVerdictError", stale, "which stands by now"),
    Attack("wrong clock", "clock", partial(wrong_clock, year=2001), "behind the lake's own clock"),
    Attack("clock that runs ahead", "clock", partial(wrong_clock, year=2101), "ahead of the lake's own clock"),
    Attack("registry written to around the adapter", "registry", around),
    Attack("crash at every step of registering", "RefusedAttackError", crashes, "every retry completed"),
    Attack("champion whose file is gone", "champion", gone),
)
