"""What was written to a registry around its interface: a sentence each, with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from noria.records import SignedVerdict, digest
from noria.registry.facts import (
    CHAMPION_NUMBER,
    CROWN,
    ESTIMATOR,
    FORCED,
    HOLDOUT,
    METRICS,
    joined,
    metrics_in,
    rule_in,
)
from noria.registry.versions import Entry, Versions

_SIGNED_TAGS = ("snapshot_id", "code", "holdout_sha256")
"""Facts that stand in a tag and in the verdict."""


def findings(versions: Versions, aliases: Mapping[str, str] | None) -> list[str]:
    """What the tags and the alias say against one another.

    Args:
        versions: All versions of one model.
        aliases: Alias -> version, as the back end has them; none if it has no such thing.
    """
    found = [sentence for entry in versions.entries for sentence in _of_version(versions, entry, aliases)]
    found += _of_numbers(versions)
    if aliases is not None:
        found += _of_alias(versions, aliases.get("champion"))
    return found


def strangers(versions: Versions, aliases: Mapping[str, str] | None) -> list[str]:
    """Versions that no valid verdict let in, and that nobody can take for the champion: those of a home from before
    the gate or of a key that was taken away, and what somebody registered beside ours. They stop no promotion.
    """
    return [
        f"{_place(versions, entry)}: {entry.faults[0]}. It cannot become the champion; delete it if nobody needs it."
        for entry in versions.entries
        if entry.faults and not _fools(versions, entry, aliases)
    ]


def bytes_finding(versions: Versions, entry: Entry, problem: str) -> str:
    """The sentence on a model file that is gone or changed."""
    place = f"{versions.name} version {entry.stored.version}"
    if entry is versions.champion:
        return f"{place}, the champion: {problem}. Go back to one that is whole: {_rollback(versions.name)}."
    return f"{place}: {problem}. It cannot become the champion; delete it."


def _fools(versions: Versions, entry: Entry, aliases: Mapping[str, str] | None) -> bool:
    """Whether a reader outside may take a version that proves nothing for the champion.

    By an alias; or by the tags of a crown, unless the aliases are right and it is older than every proven champion, or
    its number is smaller than the champion's where there are no aliases.
    """
    tags, number = entry.stored.tags, joined(CHAMPION_NUMBER, entry.stored.tags)
    if aliases and entry.stored.version in aliases.values():
        return True
    if not (number or joined(CROWN, tags)):
        return False
    if aliases is not None:
        return entry.stored.number >= min((e.stored.number for e in versions.crowned), default=0)
    return not (number.isdecimal() and int(number) < versions.next_sequence - 1)


def _of_version(versions: Versions, entry: Entry, aliases: Mapping[str, str] | None) -> Iterator[str]:
    name, tags = versions.name, entry.stored.tags
    place = _place(versions, entry)
    if entry.faults and _fools(versions, entry, aliases):
        ours = f"or its tags {CROWN} and {CHAMPION_NUMBER}" if versions.champion else f"or replace it: {_anew(name)}"
        yield f"{place}: {entry.faults[0]}. Delete it, {ours}."
    if entry.verdict is None:
        return
    for key in _SIGNED_TAGS:
        tagged, signed = tags.get(f"noria.{key}", ""), str(getattr(entry.verdict, key))
        if tagged != signed:
            yield f"{place}: its tag noria.{key} was changed to {tagged or '(none)'}. Set it back to {signed}."
    yield from _of_facts(place, entry.verdict, tags)
    if entry.forced and not joined(FORCED, tags):
        yield f"{place}: its tag {FORCED} was removed. Set it back to {entry.forced!r}."
    said = tags.get(CHAMPION_NUMBER, "")
    if said and not entry.crown and not entry.faults:
        yield f"{place}: it was made champion number {said} by hand, without a verdict. Delete the tag."


def _of_facts(place: str, verdict: SignedVerdict, tags: Mapping[str, str]) -> Iterator[str]:
    """Tags that tell of the model, and are gone, cannot be read or are not what was signed."""
    if not tags.get(ESTIMATOR):
        yield f"{place}: its tag {ESTIMATOR} was removed. Set it back to what the run's train.json says."
    if metrics_in(tags) is None:
        yield f"{place}: its tag {METRICS} was removed or garbled. Set it back to what the run's train.json says."
    rule = rule_in(tags)
    if verdict.holdout_rule_sha256 and (rule is None or digest(rule) != verdict.holdout_rule_sha256):
        yield (
            f"{place}: its tag {HOLDOUT} was removed or changed, so it cannot be told which rows it has not seen. "
            "Set it back to what was signed, or delete the version."
        )


def _of_numbers(versions: Versions) -> Iterator[str]:
    """Tags `noria.champion` that differ from the crown, and numbers that two versions have."""
    for entry in (e for e in versions.crowned if e.crown):
        said, version = joined(CHAMPION_NUMBER, entry.stored.tags), entry.stored.version
        signed = entry.crown.sequence if entry.crown else 0
        place = f"{versions.name} version {version}: its tag {CHAMPION_NUMBER} says {said or '(none)'}, not {signed}"
        if entry is versions.champion and said != str(signed):
            yield f"{place}: {_unfinished(versions.name, entry)}"
        elif said and not (said.isdecimal() and int(said) <= signed):  # a process that died leaves a smaller one
            yield f"{place}: it was changed by hand. Set it back."
    taken = Counter(e.crown.sequence for e in versions.crowned if e.crown)
    for number in (n for n, count in taken.items() if count > 1):
        both = " and ".join(e.stored.version for e in versions.crowned if e.crown and e.crown.sequence == number)
        yield f"{versions.name} versions {both} both bear champion number {number}. Delete the newer one."


def _of_alias(versions: Versions, alias: str | None) -> Iterator[str]:
    champion, name = versions.champion, versions.name
    signed = champion.stored.version if champion else None
    if alias == signed:
        return
    if champion is None or champion.crown is None:
        yield (
            f"{name}: the alias champion names version {alias}, which no verdict made the champion. Make one the "
            f"champion: {_anew(name)}; or delete the alias."
        )
    elif alias == champion.crown.previous_champion:
        yield (
            f"{name}: version {signed} was made the champion, and the alias still names version {alias or '(none)'}: "
            f"{_unfinished(name, champion)}"
        )
    else:
        yield (
            f"{name}: the alias champion was moved to version {alias or '(none)'} by hand; the signed verdicts say "
            f"version {signed}. Confirm that one: {_rollback(name, signed)}."
        )


def _unfinished(name: str, entry: Entry) -> str:
    run = entry.crown.run_id if entry.crown else ""
    return (
        f"making it the champion is unfinished, or somebody undid it by hand. Run the task promote of run {run} again, "
        f"or {_rollback(name, entry.stored.version)}."
    )


def _place(versions: Versions, entry: Entry) -> str:
    return f"{versions.name} version {entry.stored.version}"


def _anew(name: str) -> str:
    return f"`noria run {name}`, then `noria promote {name} --force --reason TEXT`"


def _rollback(name: str, version: str | None = None) -> str:
    return f"`noria rollback {name}{f' --to {version}' if version else ''} --reason TEXT`"
