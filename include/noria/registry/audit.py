"""What was written to a registry around its interface: a sentence each, with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from noria.registry.facts import CHAMPION_NUMBER, FORCED, joined
from noria.registry.versions import Entry, Versions

_SIGNED_TAGS = ("snapshot_id", "code", "holdout_sha256")
"""Facts that stand in a tag and in the verdict."""


def findings(versions: Versions, aliases: Mapping[str, str] | None) -> list[str]:
    """What the tags and the alias say against one another.

    Args:
        versions: All versions of one model.
        aliases: Alias -> version, as the back end has them; none if it has no such thing.
    """
    found = [sentence for entry in versions.entries for sentence in _of_version(versions.name, entry)]
    found += _of_numbers(versions)
    if aliases is not None:
        found += _of_alias(versions, aliases.get("champion"))
    return found


def bytes_finding(versions: Versions, entry: Entry, problem: str) -> str:
    """The sentence on a model file that is gone or changed."""
    place = f"{versions.name} version {entry.stored.version}"
    if entry is versions.champion:
        return f"{place}, the champion: {problem}. Go back to one that is whole: `noria rollback {versions.name}`."
    return f"{place}: {problem}. It cannot become the champion; delete it."


def _of_version(name: str, entry: Entry) -> Iterator[str]:
    version, tags = entry.stored.version, entry.stored.tags
    place = f"{name} version {version}"
    run = tags.get("noria.run_id") or "RUN"
    again = f"`noria promote {name} --run {run} --force --reason TEXT`"
    for fault in entry.faults:
        yield f"{place}: {fault}. Delete it, or promote it by name: {again}."
    if entry.verdict is None:
        return
    for key in _SIGNED_TAGS:
        tagged, signed = tags.get(f"noria.{key}", ""), str(getattr(entry.verdict, key))
        if tagged != signed:
            yield f"{place}: its tag noria.{key} was changed to {tagged or '(none)'}. Set it back to {signed}."
    if entry.forced and not joined(FORCED, tags):
        yield f"{place}: its tag {FORCED} was removed. Set it back to {entry.forced!r}."
    said = tags.get(CHAMPION_NUMBER, "")
    if said and not entry.crown:
        yield f"{place}: it was made champion number {said} by hand, without a verdict. Delete the tag, or: {again}."


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
        yield f"{name}: the alias champion names version {alias}, which no verdict made the champion. Delete the alias."
    elif alias == champion.crown.previous_champion:
        yield (
            f"{name}: version {signed} was made the champion, and the alias still names version {alias or '(none)'}: "
            f"{_unfinished(name, champion)}"
        )
    else:
        yield (
            f"{name}: the alias champion was moved to version {alias or '(none)'} by hand; the signed verdicts say "
            f"version {signed}. Confirm that one: `noria rollback {name} --to {signed}`."
        )


def _unfinished(name: str, entry: Entry) -> str:
    run = entry.crown.run_id if entry.crown else ""
    return (
        f"making it the champion is unfinished, or somebody undid it by hand. Run the task promote of run {run} again, "
        f"or `noria rollback {name} --to {entry.stored.version}`."
    )
