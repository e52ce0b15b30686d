"""What people are asked about a candidate, in Markdown: the promotion card in a few tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from noria.records import Candidate, Decision, Interval, Rule, Run, SliceResult
from noria.records.figures import percent

if TYPE_CHECKING:
    from noria.report.card import Card

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#|~!&])")


def question(
    run: Run, decision: Decision, candidate: Candidate | None, links: Sequence[tuple[str, str]]
) -> tuple[str, str]:
    """Subject and body of the question whether a candidate shall become the champion.

    Args:
        run: The run.
        decision: What the gate has said of the candidate.
        candidate: The candidate, if its record is at hand.
        links: Label and address.
    """
    from noria.report.card import card

    facts = card(decision, candidate, run.pipeline, run_id=run.run_id)
    against = f" in place of version {decision.previous_champion}" if decision.previous_champion else ""
    subject = f"May this model become the champion of {run.pipeline.name}{against}?"
    return subject, "\n\n".join([*_sections(facts), " · ".join(f"[{name}]({address})" for name, address in links)])


def _sections(facts: Card) -> Iterator[str]:
    yield f"**{escaped(facts.headline)}.** {escaped(' '.join(facts.sentences))}"
    if facts.intervals:
        yield "#### Compared with the champion"
        yield _table(
            ("Metric", "Candidate", "Champion", "Better by", "Between", "How"), map(_interval, facts.intervals)
        )
    if facts.luck:
        yield "\n".join(f"- {escaped(sentence)}" for sentence in (*facts.luck, *filter(None, [facts.leaked])))
    if facts.slices:
        yield "#### Groups of rows"
        yield _table(
            ("Group", "Rows", "Candidate", "Champion", "Better by", "May be worse by", ""), map(_slice, facts.slices)
        )
    yield "#### Rules"
    yield _table(("", "Rule", "Found", "Limit", "Why"), map(_rule, facts.rules))
    if facts.findings:
        yield "#### Written around the registry"
        yield "\n".join(f"- {escaped(finding)}" for finding in facts.findings)


def escaped(text: str) -> str:
    """Text that Markdown shows as it stands."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(interval: Interval) -> Sequence[str]:
    from noria.report.formats import metric_name, number, signed

    return (
        metric_name(interval.metric),
        number(interval.candidate),
        number(interval.champion),
        signed(interval.improvement),
        f"{signed(interval.low)} and {signed(interval.high)} at {percent(interval.confidence, 3)}",
        interval.method,
    )


def _slice(part: SliceResult) -> Sequence[str]:
    from noria.report.formats import number, signed
    from noria.report.wording import slice_outcome

    improvement = signed(part.improvement) if part.improvement is not None else ""
    sign = _sign(part.passed) if part.judged else f"not judged: {slice_outcome(part)}"
    figures = (number(part.candidate), number(part.champion), improvement, number(part.margin))
    return (f"{part.column} = {part.value}", f"{part.rows:,}", *figures, sign)


def _rule(rule: Rule) -> Sequence[str]:
    from noria.report.formats import number

    name = rule.name if rule.required else f"{rule.name} (advisory)"
    return (_sign(rule.passed), name, number(rule.value), number(rule.limit), rule.detail)


def _sign(passed: bool) -> str:
    return "✓" if passed else "✗"
