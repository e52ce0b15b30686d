"""The champion as the gate sees it: its predictions of today's rows, and which of them it was trained on.

Whatever keeps it from being loaded or scored is a finding; only a service that does not answer is an error.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from noria.errors import AccessError, InputError, NoriaError, StorageError, UnavailableError
from noria.gate import Champion
from noria.models.answers import load
from noria.models.examples import Drawn, frame, hashes_by, is_text
from noria.models.holdout import among, from_bytes, in_holdout, row_hashes
from noria.pipeline import Pipeline
from noria.records import ChampionVersion, HoldoutRule, Snapshot, digest
from noria.stages.case import Case

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


def champion_of(case: Case, version: ChampionVersion) -> Champion:
    """The champion with its predictions of the case's holdout, or why there are none.

    Raises:
        UnavailableError: The registry or the lake did not answer well.
        AccessError: It refused: a missing role says nothing of the champion.
    """
    try:
        model = load(case.production.fetch(case.name, version.version, case.folder), version.model_sha256)
        rows = features_for(model, version.holdout, case.drawn, case.run.pipeline)
        return Champion(version.version, case.answers(model, rows), seen=_seen(case, version))
    except (UnavailableError, AccessError):
        raise
    except NoriaError as error:
        return Champion(version.version, problem=error.got)


def features_for(model: Any, rule: HoldoutRule | None, drawn: Drawn, pipeline: Pipeline) -> pd.DataFrame:
    """The holdout's rows with the features that a model of the past wants, if the table still has them.

    Raises:
        InputError: It has not, or as another kind of column.
    """
    wanted = [str(name) for name in getattr(model, "feature_names_in_", pipeline.features)]
    today = {c.name: c for c in pipeline.columns}
    if gone := [name for name in wanted if name not in today]:
        raise InputError(f"it predicts from columns that the table no longer has: {', '.join(gone)}")
    then = rule.columns if rule else {}
    changed = [n for n in wanted if (n in then) and (then[n] in ("category", "string")) != is_text(today[n])]
    if changed:
        raise InputError(f"it predicts from columns that are of another kind now: {', '.join(changed)}")
    return frame(drawn.held, [today[name] for name in wanted])


def _seen(case: Case, version: ChampionVersion) -> np.ndarray:
    """Which rows of the holdout (n booleans) a champion was trained on.

    Raises:
        InputError: That cannot be known.
    """
    rule, held = version.holdout, case.drawn.held
    if rule is None:
        raise InputError("its version does not say which rows it was trained on")
    _check_rule(version, rule)
    try:
        hashes = hashes_by(rule, held, case.run.pipeline)
    except InputError:
        return _seen_in_its_snapshot(case, version)
    return _of_its_training(case, version, hashes, rule.share)


def _of_its_training(case: Case, version: ChampionVersion, hashes: np.ndarray, share: float) -> np.ndarray:
    """Which of n rows (n × 16 hashes by its own rule) a champion was trained on.

    Its version names the file of all rows that it has seen. Where that is gone or was changed, its rule says which rows
    it may have seen: all that it did not hold out. And what it held out it has not seen, unless a person forced it
    through.
    """
    not_held, listed = ~in_holdout(hashes, share), _listed(case, version)
    if listed is None:
        return not_held
    seen = among(hashes, listed)
    return seen if version.forced else seen & not_held


def _listed(case: Case, version: ChampionVersion) -> np.ndarray | None:
    """Hashes (n × 16) of the rows that training has left of a champion; none where they are not what was signed."""
    if not version.training_rows:
        return None
    signed = version.verdict.training_rows_sha256 if version.verdict else ""
    try:
        data = case.workspace.lake.read(version.training_rows)
        if signed and hashlib.sha256(data).hexdigest() != signed:
            log.warning("%s is not what version %s was signed with", version.training_rows, version.version)
            return None
        return from_bytes(data)
    except (FileNotFoundError, ValueError):
        return None


def _check_rule(version: ChampionVersion, rule: HoldoutRule) -> None:
    """Nothing, where the rule is the one that was signed.

    Raises:
        InputError: It is another one.
    """
    signed = version.verdict.holdout_rule_sha256 if version.verdict else ""
    if signed and digest(rule) != signed:
        raise InputError(
            f"what is said of the rows that version {version.version} has not seen is not what was signed",
            expected=f"a holdout rule whose digest is {signed}",
        )


def _seen_in_its_snapshot(case: Case, version: ChampionVersion) -> np.ndarray:
    """The same where columns are gone or of another type: by the columns that its own snapshot shares with today's.

    Rows that differ in none of these count as seen.

    Raises:
        InputError: Its run or its snapshot is gone, or there is no such column.
    """
    try:
        run = case.workspace.load_run(case.name, version.run_id)
        _check_rule(version, HoldoutRule.of(run.pipeline))
        with case.workspace.lake.local(case.workspace.require(run, "ingest", Snapshot).table) as table:
            then = pq.read_table(table)
    except (FileNotFoundError, StorageError) as error:
        if isinstance(error, UnavailableError | AccessError):
            raise
        raise InputError(
            f"columns have changed since, and the snapshot of its run {version.run_id} is gone, "
            "so it cannot be known which rows it has seen"
        ) from None
    old, today = run.pipeline, {c.name: c.type for c in case.run.pipeline.columns}
    shared = [column for column in old.columns if today.get(column.name) == column.type]
    if not shared:
        raise InputError("no column is as it was when it was trained, so it cannot be known which rows it has seen")
    hashes = row_hashes(then, old.columns, old.holdout.salt)
    seen = then.filter(pa.array(_of_its_training(case, version, hashes, old.holdout.share)))
    return among(row_hashes(case.drawn.held, shared, ""), row_hashes(seen, shared, ""))
