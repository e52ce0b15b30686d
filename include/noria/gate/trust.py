"""Whether the evidence can be believed. These rules are always required."""

from __future__ import annotations

from datetime import timedelta

from noria.gate.case import Case
from noria.gate.words import rows
from noria.pipeline import Gate
from noria.records import Rule, policy_digest

CLOCK_TOLERANCE = timedelta(minutes=5)
"""Clocks of machines that are kept right differ by less."""


def registry(case: Case) -> Rule:
    """Nothing was written to the registry but with a verdict."""
    found = case.circumstances.registry_findings
    return Rule(
        name="registry untouched",
        kind="registry",
        passed=not found,
        required=True,
        detail="; ".join(found) if found else "nothing was written to the registry around the gate",
        value=len(found),
        limit=0,
        needed="a registry in which every version bears its verdict: see `noria doctor`" if found else None,
    )


def clock(case: Case) -> Rule:
    """The present is neither before what has already happened, nor far from what the lake's own clock says."""
    known, most = case.circumstances, CLOCK_TOLERANCE.total_seconds()
    now, events = known.now, {"the snapshot was fetched": known.snapshot.fetched_at}
    if known.newest is not None:
        events["the last entry in lake or registry was made"] = known.newest
    what, latest = max(events.items(), key=lambda item: item[1])
    behind, ahead = (latest - now).total_seconds(), (now - (known.lake_now or now)).total_seconds()
    wrong, says = abs(ahead) > most, f"the clock says {now:%Y-%m-%d %H:%M:%S} UTC"
    passed = not wrong and behind <= most
    if wrong:
        detail = f"{says}, which is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the lake's own clock"
    elif not passed:
        detail = f"{says}, which is {behind:.0f} s before {what}"
    else:
        detail = f"{says}, and nothing speaks against it"
    return Rule(
        name="clock",
        kind="clock",
        passed=passed,
        required=True,
        detail=detail,
        value=abs(ahead) if wrong else behind,
        limit=most,
        needed=None if passed else _right_clock(case),
    )


def _right_clock(case: Case) -> str:
    name, version = case.circumstances.snapshot.pipeline, case.champion.version if case.champion else "VERSION"
    return (
        f"a clock that is at most {CLOCK_TOLERANCE.total_seconds():.0f} s wrong. If it is right, and what was entered "
        f"is not: `noria rollback {name} --to {version} --reason TEXT` confirms the champion, and what is older than "
        f"that counts no more; so does `noria promote {name} --force --reason TEXT`"
    )


def policy_unchanged(case: Case, policy: Gate) -> Rule:
    """The policy is the one that stood when the model was trained."""
    then, now = case.challenger.candidate.policy_sha256, policy_digest(policy)
    passed = then == now
    if passed:
        detail = f"the policy is the one that stood at the training ({now[:12]})"
    else:
        detail = f"the policy was changed between training and promotion: it was {then[:12]} and is {now[:12]}"
    needed = None if passed else "a new run, which is trained and judged by the policy of today"
    return Rule(name="policy unchanged", kind="policy", passed=passed, required=True, detail=detail, needed=needed)


def own_measures(case: Case, policy: Gate) -> Rule:
    """What is good is what the pipeline's folder says: metrics and expectations too, and not only the policy.

    A dry run promotes nothing, and may try others.
    """
    others = case.circumstances.overridden
    what = ", ".join(others)
    detail = "metrics and expectations are those of the pipeline's folder"
    if others:
        detail = f"the run has another value of {what} than the pipeline's folder, by which no model is promoted"
    return Rule(
        name="the pipeline's own measures",
        kind="policy",
        passed=not others,
        required=policy.mode != "dry_run",
        detail=detail,
        needed=f"a run without an override of {what}, or the folder's pipeline.yaml changed for everybody"
        if others
        else None,
    )


def predictions(case: Case) -> Rule:
    """One finite prediction for every row, which depends on the row and not on its place."""
    wrong, count = case.unusable, len(case.holdout)
    return Rule(
        name="predictions",
        kind="predictions",
        passed=wrong is None,
        required=True,
        detail=f"the candidate's predictions cannot be used: {wrong}" if wrong else f"{count} finite predictions",
        needed=f"one finite prediction for each of the {rows(count)}, in their order" if wrong else None,
    )


def leakage(case: Case) -> Rule:
    """Neither tuning nor training has seen a row of the holdout."""
    count, seen = len(case.holdout), case.challenger.seen
    leaked = count - int(case.unseen.sum())
    if seen is None:
        detail = "it is not known which rows training has seen"
    elif seen.shape != (count,):
        detail = f"what is known of the rows that training has seen is about {len(seen)} rows of {count}"
    elif leaked:
        detail = f"training or tuning has seen {leaked} of the {rows(count, 'holdout')}"
    else:
        detail = f"training and tuning have seen none of the {rows(count, 'holdout')}"
    known = seen is not None and seen.shape == (count,)
    passed = known and not leaked
    return Rule(
        name="holdout unseen",
        kind="leakage",
        passed=passed,
        required=True,
        detail=detail,
        value=leaked if known else None,
        limit=0,
        needed=None if passed else "a candidate that was tuned and trained without any row of the holdout",
    )


def same_split(case: Case) -> Rule:
    """The model was trained on the rows that its snapshot gives it, and its holdout is the one it is judged on."""
    candidate, drawn, snapshot = case.challenger.candidate, case.holdout.sha256, case.circumstances.snapshot.snapshot_id
    wrong = []
    if case.challenger.fit_rows_differ:
        wrong.append(
            f"the rows that it was trained on are not those of the snapshot: {case.challenger.fit_rows_differ}"
        )
    if candidate.snapshot_id != snapshot:
        wrong.append(f"it was trained on snapshot {candidate.snapshot_id}, and is judged on snapshot {snapshot}")
    if candidate.holdout_sha256 != drawn:
        wrong.append(f"training held out other rows ({candidate.holdout_sha256[:12]}) than the snapshot ({drawn[:12]})")
    return Rule(
        name="the snapshot's own split",
        kind="leakage",
        passed=not wrong,
        required=True,
        detail="; ".join(wrong) or "it was trained on the rows that the snapshot gives it",
        needed="a new run" if wrong else None,
    )
