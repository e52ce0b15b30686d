"""The measurement as pictures: plain SVG with a white ground, for a page that is read in a browser or on GitHub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 44, 56
_INK, _FAINT, _GATE, _NAIVE, _MARK = "#1f2933", "#d5dbe1", "#0f6bb5", "#c2410c", "#5b6b7b"
_OTHERS = {"gate": _GATE, "higher_metric": _NAIVE, "always": "#8a6d00", "never": "#6b7280"}
_WORDS = {
    "gate": "gate",
    "higher_metric": "higher metric wins",
    "always": "always promote",
    "never": "never promote",
}


def write_charts(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw a measurement (the object that `--json` prints) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        "gate-false-promotions.svg": false_promotions(result),
        "gate-power.svg": power(result),
        "gate-sixty-days.svg": sixty_days(result["days"]),
    }
    for name, picture in drawn.items():
        (folder / name).write_text(picture, encoding="utf-8")
    return [folder / name for name in drawn]


@dataclass(frozen=True)
class Plot:
    """A field with linear axes, in a picture of _WIDTH times _HEIGHT.

    Attributes:
        x, y: Lowest and highest value.
        top, bottom: Where the field is, in points from the picture's top.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    top: float = _TOP
    bottom: float = _HEIGHT - _BOTTOM

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Place of a point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), self.bottom - up * (self.bottom - self.top)

    def line(self, points: Sequence[tuple[float, float]], colour: str, style: str = "", title: str = "") -> str:
        """Points joined."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*p) for p in points))
        inner = f"<title>{escape(title)}</title>" if title else ""
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" {style}>{inner}</polyline>'

    def level(self, y: float, colour: str, words: str) -> Iterator[str]:
        """A dashed line across, with words above its right end."""
        yield self.line([(self.x[0], y), (self.x[1], y)], colour, 'stroke-dasharray="5 4"')
        yield _text(_WIDTH - _RIGHT, self.at(0, y)[1] - 5, words, colour, "end")

    def ticks_y(self, values: Sequence[float], shown: Callable[[float], str]) -> Iterator[str]:
        """Faint lines across, with their values to the left."""
        for value in values:
            _, y = self.at(self.x[0], value)
            yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_FAINT}"/>'
            yield _text(_LEFT - 8, y + 4, shown(value), _MARK, "end")

    def ticks_x(self, values: Sequence[float], shown: Callable[[float], str], words: str = "") -> Iterator[str]:
        """Values below, and what they are."""
        for value in values:
            yield _text(self.at(value, 0)[0], self.bottom + 18, shown(value), _MARK, "middle")
        yield _text((_LEFT + _WIDTH - _RIGHT) / 2, self.bottom + 40, words, _MARK, "middle")


def false_promotions(result: Mapping[str, Any]) -> str:
    """How often a model of equal skill is promoted, by metric and rows: the gate, and "higher metric wins"."""
    rows = result["characteristics"]
    plot = Plot((0, len(rows)), (0, 0.6))
    parts = [*plot.ticks_y([0, 0.1, 0.2, 0.3, 0.4, 0.5], "{:.0%}".format)]
    for i, row in enumerate(rows):
        for key, colour in (("naive_false_promotion_rate", _NAIVE), ("false_promotion_rate", _GATE)):
            found, error = row[key], 2 * row[f"{key}_se"]
            (x, y), (_, high), (_, low) = (plot.at(i + 0.5, v) for v in (found, found + error, max(0, found - error)))
            title = f"{row['metric']}, {row['rows']:,} rows: {found:.1%} ± {error:.1%} of {row['trials']:,}"
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
            parts.append(_dot(x, y, colour, title))
        x, _ = plot.at(i + 0.5, 0)
        parts.append(_text(x, plot.bottom + 18, row["metric"], _MARK, "middle", size=10))
        parts.append(_text(x, plot.bottom + 33, f"{row['rows']:,}", _MARK, "middle", size=10))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, plot.bottom + 50, "metric, rows of the holdout", _MARK, "middle"))
    parts += plot.level(result["alpha"], _INK, f"alpha {result['alpha']:.0%}")
    parts += _legend([("gate", _GATE), ("higher metric wins", _NAIVE)])
    return _picture("An equally good candidate is promoted", parts)


def power(result: Mapping[str, Any]) -> str:
    """How often a candidate that is better by so much is promoted; the claimed difference is marked."""
    points, first = result["power_curve"], result["characteristics"][0]
    widest = points[-1]["improvement"]
    plot = Plot((0, widest), (0, 1.0))
    parts = [*plot.ticks_y([0, 0.2, 0.4, 0.6, 0.8, 1.0], "{:.0%}".format)]
    parts += plot.ticks_x(
        [widest * i / 4 for i in range(5)],
        "{:.3f}".format,
        f"true improvement in {first['metric']}, {first['rows']} rows",
    )
    parts.append(plot.line([(p["improvement"], p["naive"]) for p in points], _NAIVE))
    parts.append(plot.line([(p["improvement"], p["promoted"]) for p in points], _GATE))
    for p in points:
        title = f"better by {p['improvement']:.4f}: {p['promoted']:.1%} ± {2 * p['promoted_se']:.1%}"
        parts.append(_dot(*plot.at(p["improvement"], p["promoted"]), _GATE, title))
    claimed = first["detectable"]
    parts.append(plot.line([(claimed, 0), (claimed, 1)], _INK, 'stroke-dasharray="5 4"'))
    x, y = plot.at(claimed, 0.08)
    parts.append(_text(x + 6, y, f"what the verdict says it can see: {claimed:.3f}", _INK))
    parts += plot.level(0.8, _MARK, "80 %")
    parts += _legend([("gate", _GATE), ("higher metric wins", _NAIVE)])
    return _picture("A better candidate is promoted", parts)


def sixty_days(days: Mapping[str, Any]) -> str:
    """One world: regret by day above, changes of the champion below."""
    timeline, count = days["timeline"], days["days"]
    top = max(max(one["regret"]) for name, one in timeline.items() if name != "never") * 1.1
    plot = Plot((0, count), (0, top), bottom=230)
    parts = [*plot.ticks_y([0, top / 2, top], "{:.2f}".format)]
    parts.append(plot.line([(days["jump_day"], 0), (days["jump_day"], top)], _INK, 'stroke-dasharray="5 4"'))
    parts.append(_text(plot.at(days["jump_day"], 0)[0] + 6, plot.top + 12, "the world jumps", _INK))
    for name, one in reversed(timeline.items()):
        line = [(day + 0.5, min(regret, top)) for day, regret in enumerate(one["regret"])]
        parts.append(plot.line(line, _OTHERS[name], title=_WORDS[name]))
    for place, (name, one) in enumerate(timeline.items()):
        y = 254 + 20 * place
        changes = [day for day in range(1, count) if one["champions"][day] != one["champions"][day - 1]]
        for day in changes:
            x, _ = plot.at(day + 0.5, 0)
            parts.append(f'<rect x="{x - 3:.1f}" y="{y - 9}" width="6" height="11" fill="{_OTHERS[name]}"/>')
        parts.append(_text(_LEFT - 8, y, str(len(changes)), _OTHERS[name], "end"))
    parts += plot_days(plot, count)
    parts += _legend([(_WORDS[name], _OTHERS[name]) for name in timeline])
    return _picture("Sixty days: error above the best model of the day, and each change of the champion", parts)


def plot_days(plot: Plot, count: int) -> Iterator[str]:
    """Days below the marks of the changes."""
    for day in range(0, count + 1, 10):
        yield _text(plot.at(day, 0)[0], _HEIGHT - 22, str(day), _MARK, "middle")
    yield _text(
        (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, "day; left of the marks: number of changes", _MARK, "middle"
    )


def _picture(title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>'
    )
    return "\n".join([head, _text(_LEFT, 18, title, _INK, size=14), *parts, "</svg>", ""])


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start", *, size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" font-size="{size}">'
        f"{escape(words)}</text>"
    )


def _dot(x: float, y: float, colour: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>'


def _legend(entries: Sequence[tuple[str, str]]) -> Iterator[str]:
    x = _LEFT
    for words, colour in entries:
        yield f'<rect x="{x}" y="26" width="10" height="10" fill="{colour}"/>'
        yield _text(x + 15, 35, words, _INK)
        x += 30 + 7 * len(words)
