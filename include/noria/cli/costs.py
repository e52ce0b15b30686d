"""Tell what runs cost: from the table of costs, with today's jobs priced at once.

Exit code: 0, 2 bad input or usage, 1 anything else.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from noria.cli.hand import add_home_and_json
from noria.cli.history import PIPED_WIDTH
from noria.costs.days import parse_day
from noria.errors import ExitCode, InputError
from noria.settings import Settings
from noria.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from noria.costs.table import Restatement

BY = ("pipeline", "stage", "service", "day", "run", "machine")
_TOLD = "told_vcpu_seconds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria costs`."""
    parser.add_argument(
        "--since",
        type=parse_day,
        metavar="DAY",
        help="first day (UTC), such as 2026-11-01; default: the first of the month",
    )
    parser.add_argument("--until", type=parse_day, metavar="DAY", help="last day; default: today")
    parser.add_argument("--by", choices=BY, default="pipeline", help="what to tell apart (default: pipeline)")
    parser.add_argument("--history", action="store_true", help="what was written of these days, when and why")
    add_home_and_json(parser)


def run(args: argparse.Namespace) -> int:
    """Add up and tell; the exit code."""
    workspace = Workspace.open(Settings.from_env(home=args.home))
    today = workspace.clock().astimezone(UTC).date()
    until = args.until or today
    since = args.since or until.replace(day=1)
    if since > until and args.until is None:
        raise InputError(f"--since {since}", expected=f"today, {today} (UTC), or an earlier day")
    if since > until:
        raise InputError(f"--since {since} --until {until}", expected="the earlier day first")
    if args.history:
        _tell_history(since, until, workspace, as_json=args.json)
    else:
        found = _read(args.by, since, until, workspace)
        _print_json(args.by, found) if args.json else _tell(args.by, found)
    return int(ExitCode.OK)


@dataclass(frozen=True)
class _Found:
    """What a time cost.

    Attributes:
        since, until: First and last day.
        rows: Of the table, and of days that are not in it; those of the same names are one.
        live: Days whose jobs were priced just now.
    """

    since: date
    until: date
    rows: pa.Table
    live: tuple[date, ...]


@dataclass
class _Line:
    """One line of the breakdown, in one currency."""

    cost: Decimal = Decimal(0)
    estimate: Decimal = Decimal(0)
    vcpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    told_vcpu_seconds: float = 0.0
    """Of jobs that tell what they used; Spark's platform does not."""


@dataclass
class _Currency:
    """The breakdown in one currency."""

    lines: dict[str | None, _Line] = field(default_factory=lambda: defaultdict(_Line))

    @property
    def total(self) -> Decimal:
        return sum((line.cost for line in self.lines.values()), Decimal(0))

    def ordered(self, by: str) -> list[tuple[str | None, _Line]]:
        """Days in their order, all else by cost."""
        lines = list(self.lines.items())
        if by == "day":
            return sorted(lines, key=lambda entry: entry[0] or "")
        return sorted(lines, key=lambda entry: (entry[0] is None, -entry[1].cost, entry[0] or ""))


def _read(by: str, since: date, until: date, workspace: Workspace) -> _Found:
    import pyarrow as pa

    from noria.costs.recent import REACH, priced_now, today, unwritten
    from noria.costs.sheet import load_sheet
    from noria.costs.sums import with_currency
    from noria.costs.table import open_costs

    costs, columns, now = open_costs(workspace), _columns(by), today(workspace)
    first = max(since, min(costs.first_day() or now, now - REACH))  # nothing is older
    before_today = min(until, now - timedelta(days=1))
    written = (costs.read(start, last + timedelta(days=1), columns) for start, last in _months(first, before_today))
    live = priced_now(
        unwritten(costs, workspace, first, until), workspace, load_sheet(workspace.settings.costs_file), columns
    )
    nothing = costs.read(now, now, columns)
    rows = pa.concat_tables([_reduced(part, columns) for part in itertools.chain(written, live.values(), [nothing])])
    return _Found(since, until, with_currency(rows), tuple(live))


def _columns(by: str) -> tuple[str, ...]:
    """What has to be read: names first, then the figures that are added up."""
    from noria.costs import focus
    from noria.costs.summary import BREAKDOWNS
    from noria.costs.sums import COST, CURRENCY

    names = dict.fromkeys((CURRENCY, focus.ORIGIN, focus.DAY, focus.PIPELINE, BREAKDOWNS[by]))
    return (*names, COST, focus.VCPU_SECONDS, focus.CPU_SECONDS)


def _reduced(rows: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    """Rows of the same names as one: a year's millions need not be in memory at once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from noria.costs import focus

    *names, cost, paid, used = columns
    nothing = pa.scalar(None, pa.float64())
    told = pc.if_else(pc.greater(rows[focus.CPU_SECONDS], 0), rows[focus.VCPU_SECONDS], nothing)
    figures = (cost, paid, used, _TOLD)
    sums = rows.select(columns).append_column(_TOLD, told).group_by(names)
    return sums.aggregate([(figure, "sum") for figure in figures]).rename_columns([*names, *figures])


def _months(since: date, until: date) -> Iterator[tuple[date, date]]:
    """First and last day of each month's part of a time."""
    while since <= until:
        following = (since.replace(day=1) + timedelta(days=31)).replace(day=1)
        yield since, min(until, following - timedelta(days=1))
        since = following


def _by_currency(by: str, rows: pa.Table) -> dict[str, _Currency]:
    from noria.costs import focus
    from noria.costs.summary import BREAKDOWNS
    from noria.costs.sums import CURRENCY, totals
    from noria.costs.table import METERING

    column = BREAKDOWNS[by]
    found: dict[str, _Currency] = defaultdict(_Currency)
    figures = (focus.VCPU_SECONDS, focus.CPU_SECONDS, _TOLD)
    for row in totals(rows, dict.fromkeys((CURRENCY, focus.ORIGIN, focus.PIPELINE, column)), figures):
        name = row[column]
        if by == "run" and name is not None:
            name = f"{row[focus.PIPELINE]} {name}"
        line = found[row[CURRENCY]].lines[name]
        line.cost += row["cost"]
        line.estimate += row["cost"] if row[focus.ORIGIN] == METERING else 0
        line.vcpu_seconds += row[focus.VCPU_SECONDS] or 0.0
        line.cpu_seconds += row[focus.CPU_SECONDS] or 0.0
        line.told_vcpu_seconds += row[_TOLD] or 0.0
    return dict(sorted(found.items()))


def _print_json(by: str, found: _Found) -> None:
    currencies = [
        {
            "currency": currency,
            "total": str(costs.total),
            "lines": [
                {
                    by: name,
                    "cost": str(line.cost),
                    "estimate": str(line.estimate),
                    "vcpu_seconds": line.vcpu_seconds,
                    "cpu_seconds": line.cpu_seconds,
                    "told_vcpu_seconds": line.told_vcpu_seconds,
                }
                for name, line in costs.ordered(by)
            ],
        }
        for currency, costs in _by_currency(by, found.rows).items()
    ]
    told: dict[str, Any] = {"since": str(found.since), "until": str(found.until), "by": by, "currencies": currencies}
    print(json.dumps({**told, "priced_now": [str(day) for day in found.live]}))  # noqa: T201


def _tell(by: str, found: _Found) -> None:
    from noria.costs.money import money, share

    currencies = _by_currency(by, found.rows)
    if not currencies:
        print(  # noqa: T201
            f"nothing has cost anything from {found.since} to {found.until} (UTC)\n"
            "Run a pipeline, with `noria run students` or in Airflow: what its jobs use is metered and priced."
        )
        return
    for currency, costs in currencies.items():
        table = Table(box=None, pad_edge=False)
        table.add_column(f"{by}{' (UTC)' if by == 'day' else ''}", overflow="fold")
        for heading in (currency, "share", "estimated", "vCPU-h", "used"):
            table.add_column(heading, justify="right")
        for name, line in costs.ordered(by):
            table.add_row(
                name if name is not None else "(without a tag)",
                money(line.cost),
                share(line.cost, costs.total),
                share(line.estimate, line.cost),
                money(Decimal(str(line.vcpu_seconds)) / 3600) if line.vcpu_seconds else "–",
                share(line.cpu_seconds, line.told_vcpu_seconds),
            )
        table.add_section()
        table.add_row("all", money(costs.total))
        _console().print(table)
    print(_source(found))  # noqa: T201


def _source(found: _Found) -> str:
    period = f"{found.since} to {found.until} (UTC)"
    if not found.live:
        return period
    first, last = found.live[0], found.live[-1]
    days = str(first) if first == last else f"{len(found.live)} days from {first} to {last}"
    return f"{period}; {days} not written yet: priced just now from what jobs have used so far"


def _tell_history(since: date, until: date, workspace: Workspace, *, as_json: bool) -> None:
    from noria.costs.table import open_costs

    history = [r for r in open_costs(workspace).history() if any(since <= day <= until for day in r.days)]
    if as_json:
        told = {"since": str(since), "until": str(until), "history": [_facts(r) for r in history]}
        print(json.dumps(told))  # noqa: T201
        return
    if not history:
        print(f"nothing was written of {since} to {until} (UTC) yet; the nightly DAG export_costs does")  # noqa: T201
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("written (UTC)", "days", "from", "billed before", "billed after", "why"):
        table.add_column(heading, overflow="fold")
    for r in history:
        days = str(r.days[0]) if len(r.days) == 1 else f"{r.days[0]} to {r.days[-1]}"
        table.add_row(f"{r.at:%Y-%m-%d %H:%M}", days, r.origin, _amounts(r.before), _amounts(r.after), r.reason)
    _console().print(table)


def _amounts(sums: Any) -> str:
    from noria.costs.money import money

    return ", ".join(f"{money(amount)} {currency}" for currency, amount in sums.items()) or "nothing"


def _facts(restatement: Restatement) -> dict[str, Any]:
    return {
        "at": restatement.at.isoformat(),
        "days": [str(day) for day in restatement.days],
        "origin": restatement.origin,
        "reason": restatement.reason,
        "before": {currency: str(amount) for currency, amount in restatement.before.items()},
        "after": {currency: str(amount) for currency, amount in restatement.after.items()},
    }


def _console() -> Console:
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
