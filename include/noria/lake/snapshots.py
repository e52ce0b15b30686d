"""The layers `raw` and `typed`: content-addressed, immutable; data first, its manifest last by exclusive create.

    raw/<pipeline>/<sha256>/data.csv, manifest.json             bytes as they came
    raw/<pipeline>/etags/<hash of the source>.json              what a source delivered last, to ask it "anything new?"
    typed/<pipeline>/<snapshot id>/table.parquet, quarantine.csv, manifest.json

What has no manifest does not exist yet: a crash in between leaves data that a retry writes again and completes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from noria.lake.base import Lake
from noria.records import RawFile, Record, Snapshot

R = TypeVar("R", bound=Record)


class SnapshotStore:
    """Snapshots of one pipeline.

    Args:
        lake: Where they live.
        pipeline: Name of the pipeline.
        fingerprint: Hash of all that decides how bytes become the typed table.
    """

    def __init__(self, lake: Lake, pipeline: str, fingerprint: str) -> None:
        self._lake, self._pipeline, self._fingerprint = lake, pipeline, fingerprint

    def snapshot_id(self, sha256: str) -> str:
        """Identity of the snapshot of these bytes, typed in this way."""
        return hashlib.sha256(f"{sha256} {self._fingerprint}".encode()).hexdigest()

    def find(self, sha256: str) -> Snapshot | None:
        """The snapshot of these bytes, if it is complete."""
        snapshot = self._read(self._manifest(sha256), Snapshot)
        return snapshot if snapshot is not None and self._lake.exists(snapshot.table) else None

    def folder(self, sha256: str) -> str:
        """Lake folder of the typed table of these bytes."""
        return f"typed/{self._pipeline}/{self.snapshot_id(sha256)}"

    def raw_path(self, sha256: str) -> str:
        """Lake path of these bytes."""
        return f"raw/{self._pipeline}/{sha256}/data.csv"

    def raw(self, sha256: str) -> AbstractContextManager[Path]:
        """These bytes as a local file while the context lasts."""
        return self._lake.local(self.raw_path(sha256))

    def last_delivery(self, source: str) -> RawFile | None:
        """What this source delivered last, if its bytes are here."""
        raw = self._read(self._etag_path(source), RawFile)
        return raw if raw is not None and self._has_raw(raw.sha256) else None

    def remember(self, raw: RawFile) -> None:
        """Keep what a source delivered, so that the next run can ask it for changes only; the first time stands."""
        if raw.etag is None:
            return
        path = self._etag_path(raw.source)
        last = self._read(path, RawFile)
        if last is None or last.model_copy(update={"fetched_at": raw.fetched_at}) != raw:
            self._lake.replace(path, _json(raw))

    def keep_raw(self, raw: RawFile, file: Path) -> None:
        """Store bytes, unless they are here; `file` may be moved."""
        if not self._has_raw(raw.sha256):
            self._lake.put(file, self.raw_path(raw.sha256))
            self._lake.create(self._raw_manifest(raw.sha256), _json(raw))

    def keep_typed(self, snapshot: Snapshot, table: Path, quarantine: Path | None) -> Snapshot:
        """Store a typed table; the snapshot that counts, which is another's if that one was quicker."""
        if quarantine is not None and snapshot.quarantine is not None:
            self._lake.put(quarantine, snapshot.quarantine)
        self._lake.put(table, snapshot.table)
        if self._lake.create(self._manifest(snapshot.sha256), _json(snapshot)):
            return snapshot
        return self.find(snapshot.sha256) or snapshot

    def _has_raw(self, sha256: str) -> bool:
        return self._lake.exists(self._raw_manifest(sha256)) and self._lake.exists(self.raw_path(sha256))

    def _manifest(self, sha256: str) -> str:
        return f"{self.folder(sha256)}/manifest.json"

    def _raw_manifest(self, sha256: str) -> str:
        return f"raw/{self._pipeline}/{sha256}/manifest.json"

    def _etag_path(self, source: str) -> str:
        return f"raw/{self._pipeline}/etags/{hashlib.sha256(source.encode()).hexdigest()[:32]}.json"

    def _read(self, path: str, kind: type[R]) -> R | None:
        try:
            return kind.model_validate_json(self._lake.read(path))
        except FileNotFoundError:
            return None


def _json(record: Record) -> bytes:
    return json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False).encode() + b"\n"
