"""Invoices that Cost Management has delivered into the lake, and taking them into the table.

    <root>/<export>/<yyyyMMdd-yyyyMMdd>/<run>/manifest.json, part_0_0001.snappy.parquet, ...

The manifest is written last and names the parts. A delivery whose parts are not all there, each with the size that the
manifest says, is not there yet. What was taken in stays where it is; that it was is told by the table alone.
"""

from __future__ import annotations

import contextlib
import logging
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from noria.costs import focus
from noria.costs.invoice_rows import Invoice, Part
from noria.costs.table import INVOICE, CostTable, open_costs
from noria.errors import InputError
from noria.lake import Lake
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
ROOT = "exports/costs"
SETTLING = timedelta(days=1)
"""For so long after its end charges of a day still come in; until then its estimates tell more than an invoice."""
_SWITCHED = timedelta(days=3)
"""An export that has delivered nothing for so long, while another one has, was replaced by that one."""
_MANIFEST = "manifest.json"
_READS_AT_ONCE = 16


@dataclass(frozen=True)
class Delivery:
    """What one run of an export has delivered.

    Attributes:
        path: Lake path of its manifest.
        first, last: Days (UTC) that it has rows of.
        submitted_at: When the run was submitted.
        parts: Lake path of each file, with the number of its rows where it is told.
        scope: What the export is of, such as a subscription, where it is told.
    """

    path: str
    first: date
    last: date
    submitted_at: datetime
    parts: tuple[tuple[str, int | None], ...]
    scope: str = ""

    @property
    def days(self) -> tuple[date, ...]:
        """Days that had settled when the run was submitted; what it says of the others is not all."""
        last = min(self.last, (self.submitted_at - SETTLING).date() - timedelta(days=1))
        return tuple(self.first + timedelta(days=number) for number in range((last - self.first).days + 1))


@dataclass(frozen=True)
class Ingested:
    """What taking in has done.

    Attributes:
        written: Days that were written.
        empty: Those of them for which nothing was charged.
        left: Days that were delivered and hold something as new already.
        missing: Days without an invoice between the first and the last one that have one.
        waiting: Deliveries that are not all there yet, and what is lacking.
        refused: Deliveries that cannot be used, and why; days are taken from others.
    """

    written: tuple[date, ...] = ()
    empty: tuple[date, ...] = ()
    left: tuple[date, ...] = ()
    missing: tuple[date, ...] = ()
    waiting: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def deliveries(lake: Lake, root: str = ROOT) -> list[Delivery]:
    """All that is there whole, what was submitted last at first."""
    return _look(lake, root).whole


def ingest(workspace: Workspace, root: str = ROOT) -> Ingested:
    """Take all deliveries into the table that are newer than what stands there; once more changes nothing.

    A delivery is one commit. One that cannot be used is in nobody's way.

    Raises:
        BusyError: Other writers of the table were quicker each time.
        StorageError: The lake cannot be read or written.
    """
    table = open_costs(workspace)
    found, stands = _look(workspace.lake, root), table.invoiced_days()
    written: set[date] = set()
    empty: set[date] = set()
    refused = [*found.refused, *_rivals(found.whole)]
    for delivery in found.whole:
        newer = [day for day in delivery.days if _is_newer(delivery, day, stands)]
        if not newer:
            continue
        try:
            done, without = _take(delivery, newer, table, workspace.lake)
        except InputError as error:
            refused.append(f"{delivery.path}: {error}")
            continue
        log.info("%s: %s days written", delivery.path, len(done))
        written, empty = written | set(done), empty | set(without)
        stands |= dict.fromkeys(done, delivery.submitted_at)
    for problem in refused:
        log.error("%s", problem)
    for lack in found.waiting:
        log.info("%s", lack)
    delivered = {day for delivery in found.whole for day in delivery.days}
    return Ingested(
        written=tuple(sorted(written)),
        empty=tuple(sorted(empty)),
        left=tuple(sorted(delivered & set(stands) - written)),
        missing=_gaps(stands),
        waiting=tuple(found.waiting),
        refused=tuple(refused),
    )


def _is_newer(delivery: Delivery, day: date, stands: Mapping[date, datetime]) -> bool:
    return day not in stands or delivery.submitted_at > stands[day]


def _take(delivery: Delivery, days: Sequence[date], table: CostTable, lake: Lake) -> tuple[list[date], list[date]]:
    """Write days of a delivery; which ones were, and which of them have no rows."""
    with _fetched(delivery, lake) as parts:
        invoice = Invoice.open(parts, delivery.first, delivery.last, table.columns())
        filled: set[str] = set()
        done = table.replace_days(
            days,
            _noting_days(invoice.batches(INVOICE), filled),
            origin=INVOICE,
            submitted_at=delivery.submitted_at,
            reason=f"delivered as {posixpath.dirname(delivery.path)}",
            more=invoice.more,
        )
    return done, [day for day in done if day.isoformat() not in filled]


def _noting_days(rows: Iterator[pa.RecordBatch], filled: set[str]) -> Iterator[pa.RecordBatch]:
    for batch in rows:
        filled.update(batch.column(focus.DAY).unique().to_pylist())
        yield batch


@contextlib.contextmanager
def _fetched(delivery: Delivery, lake: Lake) -> Iterator[list[Part]]:
    """The parts as local files."""
    with contextlib.ExitStack() as stack:
        yield [Part(path, stack.enter_context(lake.local(path)), rows) for path, rows in delivery.parts]


def _rivals(whole: Sequence[Delivery]) -> list[str]:
    """A complaint where exports of several scopes deliver: a day is replaced whole, so one would hide the other."""
    newest: dict[str, datetime] = {}
    for delivery in whole:
        newest[delivery.scope] = max(delivery.submitted_at, newest.get(delivery.scope, delivery.submitted_at))
    latest = max(newest.values(), default=None)
    scopes = sorted(scope for scope, at in newest.items() if latest and scope and latest - at < _SWITCHED)
    if len(scopes) < 2:
        return []
    return [f"exports of {len(scopes)} scopes deliver here, and each replaces the other's days: {', '.join(scopes)}"]


def _gaps(stands: Mapping[date, datetime]) -> tuple[date, ...]:
    if not stands:
        return ()
    first, last = min(stands), max(stands)
    every = (first + timedelta(days=number) for number in range((last - first).days))
    return tuple(day for day in every if day not in stands)


# Manifests


class _Facts(BaseModel):
    """Base of what is read of a manifest; it says more than is asked of it."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class _Blob(_Facts):
    blob_name: str
    byte_count: int | None = None
    data_row_count: int | None = None


class _RunInfo(_Facts):
    submitted_time: AwareDatetime
    start_date: date
    end_date: date

    @field_validator("submitted_time", mode="before")
    @classmethod
    def _utc(cls, value: object) -> object:
        """Without a zone it is UTC; finer than a millisecond is cut off, as it is in the table."""
        if not isinstance(value, str):
            return value
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    @field_validator("start_date", "end_date", mode="before")
    @classmethod
    def _day(cls, value: object) -> object:
        return value[:10] if isinstance(value, str) else value


class _ExportConfig(_Facts):
    type: str = "FocusCost"
    resource_id: str = ""


class _DeliveryConfig(_Facts):
    file_format: str = "Parquet"


class _Manifest(_Facts):
    blob_count: int | None = None
    data_row_count: int | None = None
    export_config: _ExportConfig = _ExportConfig()
    delivery_config: _DeliveryConfig = _DeliveryConfig()
    run_info: _RunInfo
    blobs: tuple[_Blob, ...] = Field(default=())


@dataclass
class _Found:
    whole: list[Delivery]
    waiting: list[str]
    refused: list[str]


def _look(lake: Lake, root: str) -> _Found:
    """Read every manifest below a folder."""
    sizes = dict(lake.sizes(root))
    paths = [path for path in sizes if posixpath.basename(path) == _MANIFEST]
    found = _Found([], [], [])
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for path, data in zip(paths, pool.map(lake.read, paths), strict=True):
            try:
                delivery, lack = _understood(path, data, sizes)
            except InputError as error:
                found.refused.append(str(error))
                continue
            if lack:
                found.waiting.append(f"{path}: {lack}")
            else:
                found.whole.append(delivery)
    found.whole.sort(key=lambda delivery: (delivery.submitted_at, delivery.path), reverse=True)
    return found


def _understood(path: str, data: bytes, sizes: Mapping[str, int]) -> tuple[Delivery, str]:
    """What a manifest says, and what is lacking of it.

    Raises:
        InputError: It is no manifest of a FOCUS export in Parquet, or contradicts itself.
    """
    try:
        manifest = _Manifest.model_validate_json(data)
    except (ValidationError, ValueError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {where or 'the whole'}: {first['msg']}", expected="a manifest of an export"
        ) from None
    _check(path, manifest)
    folder, run = posixpath.dirname(path), manifest.run_info
    names = [f"{folder}/{posixpath.basename(blob.blob_name)}" for blob in manifest.blobs]
    lacking = [
        f"{name} is not there" if name not in sizes else f"{name} has {sizes[name]} bytes of {blob.byte_count}"
        for name, blob in zip(names, manifest.blobs, strict=True)
        if name not in sizes or blob.byte_count not in (None, sizes[name])
    ]
    parts = tuple((name, blob.data_row_count) for name, blob in zip(names, manifest.blobs, strict=True))
    scope = manifest.export_config.resource_id.lower().partition("/providers/microsoft.costmanagement/")[0]
    return Delivery(path, run.start_date, run.end_date, run.submitted_time, parts, scope), "; ".join(lacking)


def _check(path: str, manifest: _Manifest) -> None:
    """Raises InputError for a manifest that is of something else, or contradicts itself."""
    kind, form = manifest.export_config.type, manifest.delivery_config.file_format
    if kind.lower() != "focuscost":
        raise InputError(f"{path}: an export of {kind}", expected="FocusCost")
    if form.lower() != "parquet":
        raise InputError(f"{path}: files in {form}", expected="Parquet")
    if manifest.run_info.end_date < manifest.run_info.start_date:
        raise InputError(f"{path}: runInfo.endDate before startDate")
    if manifest.blob_count not in (None, len(manifest.blobs)):
        raise InputError(f"{path}: blobCount {manifest.blob_count}", expected=f"{len(manifest.blobs)}, as it names")
    counts = [blob.data_row_count for blob in manifest.blobs]
    told = sum(count for count in counts if count is not None)
    if manifest.data_row_count is not None and None not in counts and told != manifest.data_row_count:
        raise InputError(f"{path}: dataRowCount {manifest.data_row_count}", expected=f"{told}, as its blobs have")
