"""Fetch the source, type it, keep both: an immutable snapshot, or the known one if the bytes are the same."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from noria.errors import DataInvalidError, SourceError
from noria.lake import SnapshotStore, scratch
from noria.pipeline import Pipeline
from noria.records import RawFile, Run, Snapshot
from noria.sources import open_source
from noria.tables import count_duplicates, type_table, typing_fingerprint
from noria.workspace import Workspace

log = logging.getLogger(__name__)
_REASONS_SHOWN = 3


def ingest(run: Run, workspace: Workspace) -> Snapshot:
    """Make the snapshot of this run's source.

    Raises:
        SourceError: There is no such source, or it is not the declared table.
        SourceUnavailableError: The source did not answer well; a retry may help.
        DataInvalidError: More rows than the declared share do not fit; the snapshot and its quarantine are kept.
        StorageError: Disk full or no permission; what was begun is completed by a retry.
    """
    pipeline = run.pipeline
    store = SnapshotStore(workspace.lake, pipeline.name, typing_fingerprint(pipeline.columns, pipeline.csv))
    with scratch(workspace.settings.home / "tmp") as folder:
        file = folder / "data.csv"
        raw = _fetch(pipeline, workspace, store, file)
        known = store.find(raw.sha256)
        if known is not None:
            log.info("the bytes are known: snapshot %s stands", known.snapshot_id[:12])
            snapshot = known.model_copy(update={**dict(raw), "reused": True})
        else:
            with contextlib.nullcontext(file) if file.exists() else store.raw(raw.sha256) as data:
                snapshot = _make(pipeline, store, raw, data, folder)
        store.remember(raw)
    _tell(snapshot)
    _judge(snapshot, pipeline, workspace)
    return snapshot


def _fetch(pipeline: Pipeline, workspace: Workspace, store: SnapshotStore, target: Path) -> RawFile:
    """The source's bytes in `target`; no file there if the source says that nothing has changed."""
    spec = pipeline.source
    source = open_source(spec, workspace.settings, workspace.credential(getattr(spec, "connection", None)))
    log.info("fetching %s", spec.uri)
    last = store.last_delivery(spec.uri)
    declared = getattr(spec, "sha256", None)
    if last is not None and declared not in (None, last.sha256):
        last = None  # the declared bytes are others, so "not modified" would be no answer
    fetched = source.fetch(target, last.etag if last else None)
    if last is not None and not fetched.modified:
        log.info("not modified since %s", last.fetched_at.isoformat(timespec="seconds"))
        target.unlink(missing_ok=True)
        return last.model_copy(update={"fetched_at": workspace.clock(), "commit": fetched.commit})
    log.info("%s bytes, sha256 %s", f"{fetched.bytes:,}", fetched.sha256[:12])
    return RawFile(
        source=spec.uri,
        commit=fetched.commit,
        etag=fetched.etag,
        sha256=fetched.sha256,
        bytes=fetched.bytes,
        fetched_at=workspace.clock(),
    )


def _make(pipeline: Pipeline, store: SnapshotStore, raw: RawFile, data: Path, folder: Path) -> Snapshot:
    table = folder / "table.parquet"
    try:
        typed = type_table(data, pipeline.csv, pipeline.columns, table, folder / "quarantine.csv")
    except SourceError as error:
        raise SourceError(f"{raw.source}: {error.got}", expected=error.expected, remedy=error.remedy) from None
    if duplicates := count_duplicates(table):
        log.info("%d rows equal an earlier row; they stay, an expectation can forbid them", duplicates)
    base = store.folder(raw.sha256)
    snapshot = Snapshot(
        **dict(raw),
        snapshot_id=store.snapshot_id(raw.sha256),
        pipeline=pipeline.name,
        rows=typed.rows,
        quarantined_rows=typed.quarantined_rows,
        quarantine_reasons=typed.reasons,
        extra_columns=typed.extra_columns,
        table_schema={c.name: c.type for c in pipeline.columns},
        raw=store.raw_path(raw.sha256),
        table=f"{base}/table.parquet",
        quarantine=f"{base}/quarantine.csv" if typed.quarantine else None,
    )
    store.keep_raw(raw, data)
    return store.keep_typed(snapshot, table, typed.quarantine)


def _tell(snapshot: Snapshot) -> None:
    if snapshot.extra_columns:
        log.warning("columns that pipeline.yaml does not declare are left out: %s", ", ".join(snapshot.extra_columns))
    if snapshot.quarantined_rows:
        log.warning("%d rows in quarantine: %s", snapshot.quarantined_rows, _top_reasons(snapshot))
    log.info("snapshot %s: %s rows", snapshot.snapshot_id[:12], f"{snapshot.rows:,}")


def _judge(snapshot: Snapshot, pipeline: Pipeline, workspace: Workspace) -> None:
    total = snapshot.rows + snapshot.quarantined_rows
    share = snapshot.quarantined_rows / total
    if snapshot.rows and share <= pipeline.quarantine.max_share:
        return
    place = workspace.lake.url(snapshot.quarantine) if snapshot.quarantine else "none"
    raise DataInvalidError(
        f"{snapshot.quarantined_rows} of {total} rows ({share:.1%}) do not fit the columns: {_top_reasons(snapshot)}",
        expected=f"at most {pipeline.quarantine.max_share:.1%}",
        remedy=f"Look at {place}; mend the source, the columns, or `quarantine.max_share` in pipeline.yaml.",
    )


def _top_reasons(snapshot: Snapshot) -> str:
    reasons = list(snapshot.quarantine_reasons.items())
    shown = "; ".join(f"{reason} ({rows})" for reason, rows in reasons[:_REASONS_SHOWN])
    more = len(reasons) - _REASONS_SHOWN
    return f"{shown}; and {more} other reasons" if more > 0 else shown
