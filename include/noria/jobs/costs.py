"""A step of the nightly cost export as a process; every step can be killed and run again. See `noria.jobs.runner`.

A day is a UTC day. Days that earlier nights have missed are caught up, from the first one that a job was metered on;
today's is not written, since it is not over.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING

from noria.alerts import Alert, Links
from noria.azure import COSTS
from noria.costs.days import parse_day
from noria.costs.recent import REACH
from noria.costs.usage import first_metered, measure_stored
from noria.errors import InputError, SpecError
from noria.jobs.metering import Metering
from noria.jobs.runner import serve
from noria.pipeline import Pipeline, find_pipelines, load_pipeline
from noria.records import Record
from noria.settings import Settings
from noria.workspace import Workspace, to_json

if TYPE_CHECKING:
    from noria.costs.sheet import PriceSheet

log = logging.getLogger(__name__)
FIGURES = "reports/costs"
PIPELINE = "noria"
"""Under which what a night itself uses is metered."""
LATE_DAYS = 3
"""So many of the newest days are metered again each night: a job elsewhere may be accounted for late."""
MOST_PAGES = 31
"""So far back are missed pages made up for, and prices looked at that are lacking."""
NO_INVOICES = f"no connection {COSTS}, so there are no invoices: the table holds estimates"
REPRICED_DAYS = 57
"""So many of the newest days are priced anew where they have no invoice and the prices have changed: those from which
it is told what a day usually costs, and more than a month."""


class StepRecord(Record):
    """What a step did, kept in the lake until it runs again.

    Attributes:
        step: Its name.
        since, until: First and last day that it looked at; none where nothing was ever metered.
        days: Those that it changed.
        waiting: Those whose invoice is not delivered yet.
        notes: What else there is to say.
        first: First day that a job was metered on, as `meter` found it: the lake is listed for it once a night.
        prices: Digest of the prices that `meter` found in the sheet.
        refused: Lake paths of the deliveries that `ingest` could not use.
    """

    step: str
    since: date | None
    until: date | None
    days: tuple[date, ...] = ()
    waiting: tuple[date, ...] = ()
    notes: tuple[str, ...] = ()
    first: date | None = None
    prices: str | None = None
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Night:
    """What one night's steps share.

    Attributes:
        days: The days to look at, the oldest first.
        first: First day that a job was metered on.
        named: Somebody named the first of them, and wants them done again.
        page_url: Where the report's page is shown, or nothing.
    """

    days: tuple[date, ...]
    first: date | None
    named: bool = False
    page_url: str = ""

    @property
    def links(self) -> Links:
        """What mails link to."""
        return [("Cost report", self.page_url)] if self.page_url else []


@dataclass(frozen=True)
class Done:
    """What a step did; see `StepRecord`."""

    days: Sequence[date] = ()
    waiting: Sequence[date] = ()
    notes: Sequence[str] = ()
    prices: str | None = None
    refused: Sequence[str] = ()


def work(args: argparse.Namespace, workspace: Workspace) -> str:
    """Do a step; the lake path of what it did."""
    first = _first(args.step, workspace)
    days = days_to_do(args.since, args.until, first, workspace)
    night = Night(days, first, args.since is not None, args.page_url)
    run_id = f"night-{workspace.clock().astimezone(UTC):%Y-%m-%d}"
    with Metering(f"costs-{args.step}", PIPELINE, run_id, workspace, whole_process=True) as metering:
        done = STEPS[args.step](night, metering.workspace)
    for note in done.notes:
        log.info("%s", note)
    record = StepRecord(
        step=args.step,
        since=days[0] if days else None,
        until=days[-1] if days else None,
        days=tuple(done.days),
        waiting=tuple(done.waiting),
        notes=tuple(done.notes),
        first=first,
        prices=done.prices,
        refused=tuple(done.refused),
    )
    path = step_path(args.step)
    workspace.lake.replace(path, to_json(record))
    return path


def step_path(step: str) -> str:
    """Lake path of what a step did last."""
    return f"{FIGURES}/steps/{step}.json"


def days_to_do(since: date | None, until: date | None, first: date | None, workspace: Workspace) -> tuple[date, ...]:
    """Every day from the first one that was metered to yesterday; or from and to the days that are named.

    Raises:
        InputError: The days named are the wrong way round, not over yet, or too long ago.
    """
    yesterday = _yesterday(workspace)
    last = until or yesterday
    if since and since < yesterday - REACH:
        raise InputError(f"--since {since}", expected=f"{yesterday - REACH} or later: so far back are days caught up")
    if since and since > yesterday and until is None:
        raise InputError(f"--since {since}", expected=f"a day that is over, so {yesterday} (UTC) at the latest")
    if last > yesterday:
        raise InputError(f"--until {last}", expected=f"a day that is over, so {yesterday} (UTC) at the latest")
    if since and since > last:
        raise InputError(f"--since {since} --until {last}", expected="the earlier day first")
    begin = since or first
    if begin is None:
        return ()
    return tuple(begin + timedelta(days=number) for number in range((last - begin).days + 1))


def _first(step: str, workspace: Workspace) -> date | None:
    """The first day that a job was metered on, of those that are caught up, or none."""
    reach = _yesterday(workspace) - REACH
    known = _last("meter", workspace) if step != "meter" else None
    if known is not None and known.first is not None:
        return max(known.first, reach)
    return first_metered(workspace.lake, reach)


def _last(step: str, workspace: Workspace) -> StepRecord | None:
    """What a step did last, or none."""
    try:
        return StepRecord.model_validate_json(workspace.lake.read(step_path(step)))
    except FileNotFoundError:
        return None


def _yesterday(workspace: Workspace) -> date:
    return workspace.clock().astimezone(UTC).date() - timedelta(days=1)


def meter(night: Night, workspace: Workspace) -> Done:
    """Price what jobs used, day by day."""
    from noria.costs.metering import meter_days
    from noria.costs.sheet import load_sheet
    from noria.costs.table import open_costs, open_metered

    sheet = load_sheet(workspace.settings.costs_file)
    standing = open_metered(workspace).submitted(night.days)
    known, prices = _last("meter", workspace), _digest(sheet)
    again = set(night.days if night.named else night.days[-LATE_DAYS:])
    if not night.named and (known is None or known.prices != prices):
        again |= set(night.days[-REPRICED_DAYS:]) - open_costs(workspace).invoiced_days().keys()
    due = [day for day in night.days if day not in standing or day in again]
    measure_stored([day for day in due if night.first and day >= night.first], workspace)
    written: list[date] = []
    for number, day in enumerate(due, 1):
        written += meter_days(workspace, sheet, [day])
        log.info("%s of %s days", number, len(due))
    notes = _pricing(night.days, sheet, workspace)
    return Done(
        days=written, notes=notes if due else ("every day is priced", *notes), prices=_met(prices, known, night)
    )


def _digest(sheet: PriceSheet) -> str:
    """Of its prices alone."""
    prices = sheet.model_dump_json(include={"currency", "machines", "storage", "requests"})
    return hashlib.sha256(prices.encode()).hexdigest()


def _met(prices: str, known: StepRecord | None, night: Night) -> str | None:
    """The prices by which all days stand: a night of which somebody named the days has not looked at the others."""
    return (known.prices if known else None) if night.named else prices


def _pricing(days: Sequence[date], sheet: PriceSheet, workspace: Workspace) -> list[str]:
    """What the prices of the newest days lack."""
    from noria.costs.metering import FINDING_COLUMNS, findings
    from noria.costs.notices import CURRENCY_COLUMNS, other_currencies
    from noria.costs.table import open_metered

    if not days:
        return []
    first, until = days[-MOST_PAGES:][0], days[-1] + timedelta(days=1)
    rows = open_metered(workspace).read(first, until, tuple({*FINDING_COLUMNS, *CURRENCY_COLUMNS}))
    return [*findings(rows), *(notice.words for notice in other_currencies(rows, first, sheet))]


def export(night: Night, workspace: Workspace) -> Done:
    """Have Azure deliver what it has invoiced for the days that are missing; where it has no export, ask it instead."""
    from noria.costs.cost_management import NoFocusError, ingest_queried, request_missing

    if workspace.connection(COSTS) is None:
        return Done(notes=(NO_INVOICES,))
    known = _last("ingest", workspace)
    try:
        asked = request_missing(workspace, night.days, known.refused if known else ())
    except NoFocusError as error:
        log.info("%s", error)
        days = ingest_queried(workspace, night.days)
        return Done(days=days, notes=("this account has no FOCUS export, so the Query API was asked",))
    notes = []
    if asked.later:
        notes.append(f"{len(asked.later)} days are asked for later: few exports may run at once")
    if asked.refused:
        notes.append(
            f"{len(asked.refused)} days of {asked.refused[0]} to {asked.refused[-1]} came in deliveries that "
            "cannot be used; they stay as they were, and are asked for once a week: the step ingest tells what is wrong"
        )
    return Done(days=asked.asked, waiting=sorted({*asked.asked, *asked.waiting}), notes=notes)


def ingest(night: Night, workspace: Workspace) -> Done:
    """Take delivered invoices into the table, whatever days they are of."""
    from noria.alerts.costs import refused_alert
    from noria.costs import invoices

    if workspace.connection(COSTS) is None:
        return Done(notes=(NO_INVOICES,))
    taken = invoices.ingest(workspace)
    last = _last("ingest", workspace)
    if news := [problem for problem in taken.refused if last is None or problem not in last.notes]:
        _mail(refused_alert(news, night.links), hear_of_trouble(workspace.settings), workspace)
    paths = [problem.partition(": ")[0] for problem in taken.refused]
    return Done(days=taken.written, notes=taken.notes, refused=paths)


def budgets(night: Night, workspace: Workspace) -> Done:
    """Tell what has passed a bound, and of odd days; keep Azure's own budgets as the specs have them."""
    from noria.alerts.budgets import tell_night
    from noria.costs.cost_management import sync_budgets
    from noria.costs.sheet import load_sheet

    sheet = load_sheet(workspace.settings.costs_file)
    pipelines, notes = _pipelines(workspace.settings)
    notes += tell_night(workspace, pipelines, sheet, night.links)
    if workspace.connection(COSTS) is not None:
        notes += sync_budgets(workspace, pipelines, sheet)
    return Done(notes=notes)


def _pipelines(settings: Settings) -> tuple[list[Pipeline], list[str]]:
    """Every pipeline, and what is wrong with those that cannot be read."""
    good, faults = [], []
    for name in find_pipelines(settings.pipelines):
        try:
            good.append(load_pipeline(name, settings.pipelines))
        except SpecError as error:
            faults.append(f"budgets of {name} are not looked at: {error}")
    return good, faults


def report(night: Night, workspace: Workspace) -> Done:
    """Write the page of the last day, and of missed ones; mail the last one's key lines."""
    from noria.alerts.costs import report_alert
    from noria.costs.page import report_path, write_report
    from noria.costs.sheet import load_sheet

    if not night.days:
        return Done(notes=("no day that is over has been metered yet; `noria costs` tells of today's jobs",))
    *earlier, last = night.days[-MOST_PAGES:]
    due = [*(day for day in earlier if not workspace.lake.exists(report_path(day, "html"))), last]
    for number, day in enumerate(due, 1):
        written = write_report(workspace, day)
        log.info("%s of %s days", number, len(due))
    mailed = f"{FIGURES}/mailed/{last}"
    if not workspace.lake.exists(mailed):
        readers = load_sheet(workspace.settings.costs_file).report.emails
        _mail(report_alert(written.summary, night.links), readers, workspace)
        workspace.lake.create(mailed, b"")
    return Done(days=due)


def hear_of_trouble(settings: Settings) -> tuple[str, ...]:
    """Who is told of trouble: those who get the report; where nobody does, or the price sheet is wrong, everyone."""
    from noria.costs.sheet import load_sheet

    readers: tuple[str, ...] = ()
    with contextlib.suppress(SpecError):
        readers = load_sheet(settings.costs_file).report.emails
    return readers or tuple(sorted({email for pipeline in _pipelines(settings)[0] for email in pipeline.alerts.emails}))


def _mail(alert: Alert, recipients: Sequence[str], workspace: Workspace) -> None:
    """Put an alert into the outbox."""
    from noria.alerts.outbox import post

    post(alert, recipients, None, workspace)


STEPS: dict[str, Callable[[Night, Workspace], Done]] = {
    "meter": meter,
    "export": export,
    "ingest": ingest,
    "budgets": budgets,
    "report": report,
}


def main() -> None:
    """Parse the arguments and do a step."""
    parser = argparse.ArgumentParser(prog="python -m noria.jobs.costs", description="A step of the cost export.")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument(
        "--since", type=_named, metavar="DAY", help="first day; default: the first one that a job was metered on"
    )
    parser.add_argument("--until", type=_named, metavar="DAY", help="last day; default: yesterday (UTC)")
    parser.add_argument("--page-url", default="", metavar="URL", help="where the report's page is shown, for the mail")
    serve("costs", parser, work)


def _named(text: str) -> date | None:
    return parse_day(text) if text else None  # an empty field of the DAG's form


if __name__ == "__main__":
    main()
