"""Bring a former champion back."""

from __future__ import annotations

import logging
import math
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from noria.errors import AccessError, InputError, NoriaError, StorageError, UnavailableError, VerdictError
from noria.ledger import entry_of
from noria.models.answers import ask, finite, load
from noria.models.examples import Drawn, draw
from noria.models.metrics import score
from noria.records import (
    ChampionVersion,
    LedgerEntry,
    Metrics,
    Rollback,
    Run,
    SignedVerdict,
    Snapshot,
    policy_digest,
)
from noria.registry import Registry
from noria.stages.by_hand import named
from noria.stages.carrying_out import catch_up
from noria.stages.case import alone
from noria.stages.judging import newest_of
from noria.stages.rival import features_for
from noria.verdicts import new_id
from noria.workspace import Workspace, to_json

log = logging.getLogger(__name__)
_KEY = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,199}")


@dataclass(frozen=True)
class _Target:
    """A version, and how it does today.

    Attributes:
        version: The version.
        run: Whose snapshot it was scored on.
        drawn: That snapshot's rows.
        metrics: Of the version on the holdout.
    """

    version: ChampionVersion
    run: Run
    drawn: Drawn
    metrics: Metrics


def rollback(
    name: str, workspace: Workspace, *, to: str | None = None, by: str, reason: str, key: str | None = None
) -> Rollback:
    """Make a version that was in production the champion again, if it still loads and scores today.

    Args:
        name: Name of the pipeline.
        workspace: The world.
        to: The version; default: the champion before this one. The present champion itself is confirmed where the
            registry was written to by hand, or an entry of the future stands in registry or ledger.
        by: Who asks for it.
        reason: Why.
        key: Names this rollback, so that a retry of a killed one completes it instead of going one further back; a
            retry gives the same key (letters, digits, `_.+-`). Its record is `rollbacks/<pipeline>/<key>.json`.

    Raises:
        InputError: No reason, nobody is named, no such version, one that never was the champion or is it now, or one
            that does not load and score the newest snapshot's holdout.
        BusyError: A promotion of this pipeline does not end.
    """
    named(by, reason)
    key = key or f"{workspace.clock():%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
    if not _KEY.fullmatch(key):
        raise InputError(
            f"a rollback is called {key!r}",
            expected="letters, digits and _.+-",
            remedy="Give it another name, or none: it is given one.",
        )
    path = rollback_path(name, key)
    with alone(name, workspace) as (folder, still_held):
        if workspace.lake.exists(path):
            return Rollback.model_validate_json(workspace.lake.read(path))
        verdict = _kept(name, key, workspace)
        if verdict is None:
            catch_up(name, workspace)
            champion = _champion(name, workspace.registry)
            target = _scored(_target(name, champion, to, workspace), name, workspace, folder)
            verdict = _sign(name, champion, target, workspace, by=by, reason=reason)
            scored = _record(verdict, target)
            workspace.lake.replace(_intent(name, key, "scored"), to_json(scored))
            workspace.lake.replace(_intent(name, key, "verdict"), to_json(verdict))
        record = _carry_out(name, key, verdict, workspace, still_held)
        workspace.lake.create(path, to_json(record))
    return record


def rollback_path(name: str, key: str) -> str:
    """Lake path of a rollback's record."""
    return f"rollbacks/{name}/{key}.json"


def _intent(name: str, key: str, what: str) -> str:
    return f"rollbacks/{name}/{key}.{what}"


def _kept(name: str, key: str, workspace: Workspace) -> SignedVerdict | None:
    """The verdict of an earlier attempt, if it was begun or may still be; none if the champion is another one now.

    What is damaged, or was changed since, counts as none.
    """
    try:
        verdict = SignedVerdict.model_validate_json(workspace.lake.read(_intent(name, key, "verdict")))
        Rollback.model_validate_json(workspace.lake.read(_intent(name, key, "scored")))
        workspace.keyring.check(verdict)
    except FileNotFoundError:
        return None
    except (ValueError, VerdictError) as error:
        log.warning("what an earlier attempt of the rollback %s has left does not count: %s", key, error)
        return None
    champion = workspace.registry.champion(name)
    stands = champion.version if champion else None
    target = next((v for v in workspace.registry.history(name) if v.version == verdict.version), None)
    begun = target is not None and (target.sequence or 0) >= verdict.sequence
    fits = (verdict.sequence, verdict.previous_champion) == (workspace.registry.next_sequence(name), stands)
    return verdict if begun or fits else None


def _champion(name: str, registry: Registry) -> ChampionVersion:
    champion = registry.champion(name)
    if champion is None:
        raise InputError(
            f"{name} has no champion, so there is nothing to go back from",
            expected="one whose signed verdict says so",
            remedy=f"Start a run with `noria run {name}`; `noria doctor` tells what the registry holds.",
        )
    return champion


def _target(name: str, champion: ChampionVersion, to: str | None, workspace: Workspace) -> ChampionVersion:
    """The version to go back to."""
    before = champion.verdict.previous_champion if champion.verdict else champion.previous_champion
    wanted = to or before
    history = workspace.registry.history(name)
    others = [v.version for v in history if v.sequence is not None and v.version != champion.version]
    if wanted is None:
        raise InputError(
            f"version {champion.version} is the first champion of {name}, so there is none before it",
            expected="a version to go back to",
            remedy=_else(name, others),
        )
    found = next((v for v in history if v.version == wanted), None)
    if found is None or found.sequence is None:
        what = "was never in production" if found else "does not exist"
        expected = f"one of {', '.join(others)}" if others else "one that was the champion before"
        raise InputError(f"version {wanted} of {name} {what}", expected=expected, remedy=_else(name, others))
    told = workspace.ledger(name).history()
    newest = newest_of(told, history) or workspace.clock()
    untouched = newest <= workspace.clock() and not (workspace.registry.audit(name) or told.dethroned(history))
    if found.version == champion.version and untouched:
        raise InputError(
            f"version {wanted} of {name} is the champion",
            expected="one that was it before",
            remedy=_else(name, others),
        )
    return found


def _else(name: str, others: Sequence[str]) -> str:
    """What can be done where this version cannot be brought back."""
    if others:
        return f"`noria rollback {name} --to {others[0]} --reason TEXT`, or another one of `noria history {name}`."
    return f"There is no other former champion; `noria promote {name} --force --reason TEXT` promotes a candidate."


def _scored(version: ChampionVersion, name: str, workspace: Workspace, folder: Path) -> _Target:
    """The version with its metrics on the holdout of the newest snapshot.

    Raises:
        InputError: It does not load, does not score the rows, or not with finite numbers.
        UnavailableError: The registry did not answer well.
        AccessError: It does not allow this.
    """
    run, drawn = _newest_rows(name, workspace)
    problem, target = drawn.split.problem, drawn.split.holdout.target
    try:
        model = load(workspace.registry.fetch(name, version.version, folder), version.model_sha256)
        answers = ask(problem, model, features_for(model, version.holdout, drawn, run.pipeline))
    except (UnavailableError, AccessError):
        raise
    except NoriaError as error:
        raise InputError(
            f"version {version.version} of {name} cannot be brought back: {error.got}",
            expected="one that loads and scores today's rows",
            remedy=f"Name another one with --to; `noria history {name}` lists them.",
        ) from error
    metrics = score(problem, target, answers) if finite(answers) else {problem.primary_metric: math.nan}
    if not math.isfinite(metrics[problem.primary_metric]):
        raise InputError(
            f"version {version.version} of {name}: no finite {problem.primary_metric} on the rows of run {run.run_id}",
            expected="one that scores today's rows",
            remedy=f"Name another one with --to; `noria history {name}` lists them.",
        )
    return _Target(version, run, drawn, metrics)


def _newest_rows(name: str, workspace: Workspace) -> tuple[Run, Drawn]:
    """The newest run that was judged and whose snapshot is there, with its rows; others are passed over."""
    seen: list[str] = []
    for entry in reversed(workspace.ledger(name).entries()):
        if entry.event not in ("rolled_back", "forced") and entry.run_id not in seen and _genuine(entry, workspace):
            seen.append(entry.run_id)
    for run_id in seen:
        try:
            run = workspace.load_run(name, run_id)
            with workspace.lake.local(workspace.require(run, "ingest", Snapshot).table) as table:
                return run, draw(table, run.pipeline)
        except (UnavailableError, AccessError):
            raise
        except (StorageError, FileNotFoundError, ValueError) as error:  # pruned, or of another version of Noria
            log.warning("the rows of run %s cannot be read: %s", run_id, error)
    raise InputError(
        f"no run of {name} has left a snapshot to score a version on",
        expected="one that was judged and is still there",
        remedy=f"Start a run with `noria run {name}` first.",
    )


def _genuine(entry: LedgerEntry, workspace: Workspace) -> bool:
    try:
        workspace.keyring.check(entry)
    except VerdictError:
        return False
    return True


def _sign(
    name: str, champion: ChampionVersion, target: _Target, workspace: Workspace, *, by: str, reason: str
) -> SignedVerdict:
    verdict = SignedVerdict(
        id=new_id(),
        action="rollback",
        pipeline=name,
        run_id=target.version.run_id,
        model_sha256=target.version.model_sha256,
        holdout_sha256=target.drawn.split.holdout_sha256,
        policy_sha256=policy_digest(target.run.pipeline.gate),
        snapshot_id=workspace.require(target.run, "ingest", Snapshot).snapshot_id,
        code=target.run.code,
        sequence=workspace.registry.next_sequence(name),
        previous_champion=champion.version,
        version=target.version.version,
        by=by,
        reason=reason,
        issued_at=workspace.clock(),
    )
    return workspace.keyring.sign(verdict)


def _record(verdict: SignedVerdict, target: _Target) -> Rollback:
    return Rollback(
        pipeline=verdict.pipeline,
        version=target.version.version,
        before=verdict.previous_champion or "",
        by=verdict.by,
        reason=verdict.reason,
        at=verdict.issued_at,
        verdict_id=verdict.id,
        run_id=target.run.run_id,
        metrics=target.metrics,
        champion_version=target.version.version,
    )


def _carry_out(
    name: str, key: str, verdict: SignedVerdict, workspace: Workspace, still_held: Callable[[], None]
) -> Rollback:
    """The crown, then the ledger; both can be repeated."""
    record = Rollback.model_validate_json(workspace.lake.read(_intent(name, key, "scored")))
    registry = workspace.registry
    number = next((v.sequence for v in registry.history(name) if v.version == record.version), None) or 0
    champion = registry.champion(name)
    stands = champion is not None and champion.version == record.version
    if number < verdict.sequence or (number == verdict.sequence and stands):
        still_held()
        registry.crown(name, record.version, verdict)
    log.warning("%s went back to version %s of %s: %s", verdict.by, record.version, name, verdict.reason)
    workspace.ledger(name).append(entry_of(verdict, record.version))
    champion = registry.champion(name)
    return record.model_copy(update={"champion_version": champion.version if champion else record.version})
