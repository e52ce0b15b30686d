"""Where marks go in the picture of the days: bars stacked by pipeline, hatched where they are estimates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from noria.costs.money import money
from noria.costs.summary import DayCost

WIDTH, HEIGHT = 760, 230
COLOURS = 6
"""How many pipelines have a colour of their own; the others share the last one."""
UNTAGGED, OTHERS = "without a tag", "others"
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 12, 26
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Block:
    """A pipeline's part of a bar."""

    y: float
    height: float
    colour: int
    title: str


@dataclass(frozen=True)
class Bar:
    """One day."""

    x: float
    width: float
    top: float
    height: float
    blocks: tuple[Block, ...]
    is_estimate: bool
    label: str
    """Under the axis, on every few days."""


@dataclass(frozen=True)
class Chart:
    """The picture, in a drawing of WIDTH times HEIGHT."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    """y, label."""
    key: tuple[tuple[str, int], ...]
    """Name, number of the colour."""
    base: float
    """y of nothing."""
    left: float
    right: float
    has_estimates: bool
    has_invoices: bool
    has_credits: bool
    """Of a pipeline on a day together; they are not drawn."""


def chart(days: Sequence[DayCost]) -> Chart | None:
    """The picture of some days; none where they cost nothing. Credits are not drawn."""
    names = _named(days)
    step = _step(max((float(sum(_parts(day, names).values())) for day in days), default=0.0))
    if not step:
        return None
    scale = (HEIGHT - _TOP - _BOTTOM) / (4 * step)
    base = HEIGHT - _BOTTOM
    pitch = (WIDTH - _LEFT - _RIGHT) / len(days)
    bars = tuple(_bar(day, names, _LEFT + pitch * i, pitch, scale) for i, day in enumerate(days))
    shown = [bar for bar in bars if bar.height]
    return Chart(
        bars=bars,
        ticks=tuple((base - i * step * scale, money(Decimal(str(i * step)))) for i in range(5)),
        key=tuple(names.items()),
        base=base,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        has_estimates=any(bar.is_estimate for bar in shown),
        has_invoices=any(not bar.is_estimate for bar in shown),
        has_credits=any(amount < 0 for day in days for amount in day.by_pipeline.values()),
    )


def _named(days: Sequence[DayCost]) -> dict[str, int]:
    """Names in the key -> colour: the dearest pipelines, then the others together, then what bears no tag.

    What no bar would show, being less than a thousandth of the highest one each day, has no place in it.
    """
    sums: dict[str, Decimal] = defaultdict(Decimal)
    charged = [{name: amount for name, amount in day.by_pipeline.items() if amount > 0} for day in days]
    highest = max((sum(amounts.values()) for amounts in charged), default=0)
    seen = {name for amounts in charged for name, amount in amounts.items() if amount * 1000 >= highest}
    for amounts in charged:
        for name, amount in amounts.items():
            sums[name] += amount
    pipelines = sorted((name for name in seen if name), key=lambda name: (-sums[name], name))
    own = pipelines if len(pipelines) <= COLOURS else pipelines[: COLOURS - 1]
    names = {name: number for number, name in enumerate(own)}
    if len(own) < len(pipelines):
        names[OTHERS] = COLOURS - 1
    return names | ({UNTAGGED: COLOURS} if "" in seen else {})


def _parts(day: DayCost, names: dict[str, int]) -> dict[str, Decimal]:
    parts: dict[str, Decimal] = dict.fromkeys(names, Decimal(0))
    for name, amount in day.by_pipeline.items():
        label = UNTAGGED if not name else name if name in names else OTHERS
        if amount > 0 and label in names:
            parts[label] += amount
    return parts


def _bar(day: DayCost, names: dict[str, int], x: float, pitch: float, scale: float) -> Bar:
    blocks = tuple(_blocks(day, names, scale))
    height = sum(block.height for block in blocks)
    return Bar(
        x=x + 0.14 * pitch,
        width=0.72 * pitch,
        top=HEIGHT - _BOTTOM - height,
        height=height,
        blocks=blocks,
        is_estimate=day.estimate > 0,
        label=_label(day.day),
    )


def _blocks(day: DayCost, names: dict[str, int], scale: float) -> Iterator[Block]:
    y = float(HEIGHT - _BOTTOM)
    kind = "estimate" if day.estimate > 0 else "invoice"
    for name, amount in _parts(day, names).items():
        if amount:
            height = float(amount) * scale
            y -= height
            yield Block(y, height, names[name], f"{day.day:%d %B}, {name}: {money(amount)} ({kind})")


def _label(day: date) -> str:
    """The first of a month by its name, every fifth day by its number."""
    if day.day == 1:
        return f"{day:%b}"
    return str(day.day) if day.day % 5 == 0 and day.day < 30 else ""


def _step(most: float) -> float:
    """A quarter of the axis, as a round number; 0 for nothing to draw."""
    if most <= 0 or not math.isfinite(most):
        return 0.0
    power = 10.0 ** math.floor(math.log10(most / 4))
    return next((power * s for s in _STEPS if 4 * power * s >= most), 10 * power)
