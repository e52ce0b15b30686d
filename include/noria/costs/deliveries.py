"""What Cost Management has delivered into the lake, as its manifests tell.

    <root>/<export>/<yyyyMMdd-yyyyMMdd>/<run>/manifest.json, part_0_0001.snappy.parquet, ...

The manifest is written last and names the parts. A delivery whose parts are not all there, each with the size that the
manifest says, is not there yet.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from noria.errors import InputError
from noria.lake import Lake

ROOT = "exports/costs"
SETTLING = timedelta(days=1)
"""For so long after its end charges of a day still come in; until then its estimates tell more than an invoice."""
_MANIFEST, _KNOWN = "manifest.json", "manifests.json"
_OVERWRITTEN = "overwritepreviousreport"
"""In a manifest: its export makes no new folder for each run."""
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


def deliveries(lake: Lake, root: str = ROOT) -> list[Delivery]:
    """All that is there whole, what was submitted last at first."""
    return look(lake, root).whole


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
class Found:
    """What is there.

    Attributes:
        whole: All that is there whole, what was submitted last at first.
        waiting: What is not all there yet, and what is lacking.
        refused: Manifests that cannot be used, and why.
    """

    whole: list[Delivery]
    waiting: list[str]
    refused: list[str]


def look(lake: Lake, root: str, *, keep: bool = False) -> Found:
    """Understand every manifest below a folder; `keep` what was read of them for the next time."""
    sizes = dict(lake.sizes(root))
    found = Found([], [], [])
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

    A manifest is the same as before if all files beside it have as many bytes together as then, unless it says that the
    next run writes over it: that one is read each time.
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
    lasting = {path: (weights[path], text) for path, text in texts.items() if _OVERWRITTEN not in text.lower()}
    if keep and lasting != known:
        lake.replace(place, json.dumps(lasting).encode())
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
