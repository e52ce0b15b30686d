"""Invoices that Cost Management has delivered into the lake, and taking them into the table.

    <root>/<export>/<yyyyMMdd-yyyyMMdd>/<run>/manifest.json, part_0_0001.snappy.parquet, ...

The manifest is written last and names the parts. A delivery whose parts are not all there, each with the size that the
manifest says, is not there yet. What was taken in stays where it is; that it was is told by the table alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from noria.costs import focus
from noria.costs.focus import midnight
from noria.costs.invoice_rows import Invoice, Part
from noria.costs.table import INVOICE, METERING, CostTable, open_costs
from noria.errors import InputError
from noria.lake import Lake
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)
ROOT = "exports/costs"
SETTLING = timedelta(days=1)
"""For so long after its end charges of a day still come in; until then its estimates tell more than an invoice."""
LATE = timedelta(days=4)
"""For so long after its beginning charges of a day may be late; an estimate tells more than that there are none."""
_SWITCHED = timedelta(days=3)
"""An export that has delivered nothing for so long, while another one has, was replaced by that one."""
_MANIFEST = "manifest.json"
_KNOWN = "manifests.json"
_READS_AT_ONCE = 16
_SHOWN = 3


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
        kept: Days that have an estimate still, since the newest invoice has no charges for them yet.
        moved: Deliveries with charges of days before or after theirs, and how many.
        left: Days that were delivered and hold something as new already.
        missing: Days without an invoice between the first and the last one that have one.
        waiting: Deliveries that are not all there yet, and what is lacking.
        refused: Deliveries that cannot be used, and why; days are taken from others.
    """

    written: tuple[date, ...] = ()
    empty: tuple[date, ...] = ()
    kept: tuple[date, ...] = ()
    moved: tuple[str, ...] = ()
    left: tuple[date, ...] = ()
    missing: tuple[date, ...] = ()
    waiting: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """What people should know, in words."""
        days = {
            "nothing was charged": self.empty,
            "no charges yet, so the estimates stand": self.kept,
            "no invoice, though there is one of days before and after": self.missing,
        }
        said = [f"{what}: {_few(which)}" for what, which in days.items() if which]
        return [*said, *self.moved, *self.waiting, *self.refused]


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
    found, stands = _look(workspace.lake, root, keep=True), table.invoiced_days()
    taken: list[Ingested] = []
    refused = [*found.refused, *_rivals(found.whole)]
    for delivery in found.whole:
        newer = [day for day in delivery.days if _is_newer(delivery, day, stands)]
        if not newer:
            continue
        try:
            taken.append(_take(delivery, newer, table, workspace.lake))
        except InputError as error:
            refused.append(f"{delivery.path}: {error}")
            continue
        log.info("%s: %s days written", delivery.path, len(taken[-1].written))
        stands |= dict.fromkeys(taken[-1].written, delivery.submitted_at)
    for problem in refused:
        log.error("%s", problem)
    for lack in found.waiting:
        log.info("%s", lack)
    written = {day for one in taken for day in one.written}
    delivered = {day for delivery in found.whole for day in delivery.days}
    return Ingested(
        written=tuple(sorted(written)),
        empty=tuple(sorted(day for one in taken for day in one.empty)),
        kept=tuple(sorted({day for one in taken for day in one.kept} - written)),
        moved=tuple(said for one in taken for said in one.moved),
        left=tuple(sorted(delivered & set(stands) - written)),
        missing=_gaps(stands),
        waiting=tuple(found.waiting),
        refused=tuple(refused),
    )


def _is_newer(delivery: Delivery, day: date, stands: Mapping[date, datetime]) -> bool:
    return day not in stands or delivery.submitted_at > stands[day]


def _take(delivery: Delivery, days: Sequence[date], table: CostTable, lake: Lake) -> Ingested:
    """Write days of a delivery."""
    fresh = [day for day in days if delivery.submitted_at < midnight(day) + LATE]
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
            unless_empty=_estimated(fresh, table),
        )
    without = [day for day in days if day.isoformat() not in filled]
    return Ingested(
        written=tuple(done),
        empty=tuple(day for day in without if day in done),
        kept=tuple(day for day in without if day not in done),
        moved=_told_moved(delivery, invoice.moved),
    )


def _estimated(days: Sequence[date], table: CostTable) -> set[date]:
    """Those of the days that have estimates of more than nothing."""
    if not days:
        return set()
    rows = table.read(min(days), max(days) + timedelta(days=1), [focus.DAY, focus.ORIGIN, "BilledCost"]).to_pylist()
    costly = {row[focus.DAY] for row in rows if row[focus.ORIGIN] == METERING and row["BilledCost"]}
    return {day for day in days if day.isoformat() in costly}


def _told_moved(delivery: Delivery, moved: Mapping[date, int]) -> tuple[str, ...]:
    if not moved:
        return ()
    return (
        f"{posixpath.dirname(delivery.path)}: charges of other days than {delivery.first} to {delivery.last}, booked "
        f"on the nearest of these: {sum(moved.values())} of {_few(sorted(moved))}",
    )


def _few(days: Sequence[date]) -> str:
    more = f" and {len(days) - _SHOWN} days more" if len(days) > _SHOWN else ""
    return ", ".join(map(str, days[:_SHOWN])) + more


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


def _look(lake: Lake, root: str, *, keep: bool = False) -> _Found:
    """Understand every manifest below a folder; `keep` what was read of them for the next time."""
    sizes = dict(lake.sizes(root))
    found = _Found([], [], [])
    for path, text in _manifests(lake, root, sizes, keep=keep).items():
        try:
            delivery, lack = _understood(path, text, sizes)
        except InputError as error:
            found.refused.append(str(error))
            continue
        if lack:
            found.waiting.append(f"{path}: {lack}")
        else:
            found.whole.append(delivery)
    found.whole.sort(key=lambda delivery: (delivery.submitted_at, delivery.path), reverse=True)
    return found


def _manifests(lake: Lake, root: str, sizes: Mapping[str, int], *, keep: bool) -> dict[str, str]:
    """Texts of all manifests. After a year there are hundreds, so those that were read before come in one file.

    A manifest is the same as before if all files beside it have as many bytes together as then.
    """
    place = f"{root}/{_KNOWN}"
    known: dict[str, tuple[int, str]] = {}
    if place in sizes:
        with contextlib.suppress(ValidationError):
            known = TypeAdapter(dict[str, tuple[int, str]]).validate_json(lake.read(place))
    folders = Counter[str]()
    for path, size in sizes.items():
        folders[posixpath.dirname(path)] += size
    weights = {path: folders[posixpath.dirname(path)] for path in sizes if posixpath.basename(path) == _MANIFEST}
    new = [path for path, weight in weights.items() if known.get(path, (-1, ""))[0] != weight]
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        read = {path: data.decode(errors="replace") for path, data in zip(new, pool.map(lake.read, new), strict=True)}
    texts = {path: read[path] if path in read else known[path][1] for path in weights}
    if keep and (new or known.keys() != texts.keys()):
        lake.replace(place, json.dumps({path: (weights[path], text) for path, text in texts.items()}).encode())
    return texts


def _understood(path: str, data: str, sizes: Mapping[str, int]) -> tuple[Delivery, str]:
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
    folder, run = posixpath.dirname(path), manifest.run_info
    names = [f"{folder}/{posixpath.basename(blob.blob_name)}" for blob in manifest.blobs]
    _check(path, manifest, names)
    lacking = [
        f"{name} is not there" if name not in sizes else f"{name} has {sizes[name]} bytes of {blob.byte_count}"
        for name, blob in zip(names, manifest.blobs, strict=True)
        if name not in sizes or blob.byte_count not in (None, sizes[name])
    ]
    parts = tuple((name, blob.data_row_count) for name, blob in zip(names, manifest.blobs, strict=True))
    scope = manifest.export_config.resource_id.lower().partition("/providers/microsoft.costmanagement/")[0]
    return Delivery(path, run.start_date, run.end_date, run.submitted_time, parts, scope), "; ".join(lacking)


def _check(path: str, manifest: _Manifest, names: Sequence[str]) -> None:
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
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path}: blobs: {posixpath.basename(twice)} is named twice", expected="each part once")
    counts = [blob.data_row_count for blob in manifest.blobs]
    told = sum(count for count in counts if count is not None)
    if manifest.data_row_count is not None and None not in counts and told != manifest.data_row_count:
        raise InputError(f"{path}: dataRowCount {manifest.data_row_count}", expected=f"{told}, as its blobs have")
