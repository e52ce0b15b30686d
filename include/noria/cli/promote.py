"""Judge a candidate again and promote it if the gate says so; or say what a person decides about it.

Without a flag the newest candidate is judged anew, against today's champion and today's policy. --approve and --decline
answer for a candidate that waits; --force promotes against the gate's verdict, and is told for ever. Your name is what
the operating system says (LOGNAME): nothing checks it here; only Airflow's UI asks people to sign in.

Exit code: 0 promoted, waiting or the champion kept, 2 bad input or usage, 3 candidate rejected, 1 anything else.
"""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from noria.cli.hand import add_home_and_json, at_work, rewrite_report, stated, user
from noria.cli.runs import newest
from noria.errors import ExitCode, InputError, NoriaError
from noria.jobs.runner import run_stage
from noria.records import Candidate, ChampionVersion, Decision, Run
from noria.report.card import Card, card
from noria.settings import Settings
from noria.stages.report import waited_for
from noria.workspace import Workspace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `noria promote`."""
    parser.add_argument("name", metavar="NAME", help="the pipeline")
    parser.add_argument(
        "--run", metavar="ID", help="the run (default: the newest with a candidate; with an answer, the one that waits)"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--approve", action="store_true", help="agree to a candidate that waits for approval")
    how.add_argument("--decline", action="store_true", help="decline a candidate that waits: the champion stays")
    how.add_argument(
        "--force",
        action="store_true",
        help="promote whatever the gate says; the registry and every later report tell who did it and why",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why; needed for an answer and for force, and kept for ever")
    add_home_and_json(parser)


def run(args: argparse.Namespace) -> int:
    """Do what was asked and print the promotion card; the exit code."""
    by_hand = args.approve or args.decline or args.force
    reason = stated(args.reason) if by_hand else ""
    if args.reason is not None and not by_hand:
        raise InputError("--reason alone", expected="--approve, --decline or --force beside it")
    workspace = Workspace.open(Settings.from_env(home=args.home))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    answers = args.approve or args.decline
    run = newest(workspace, args.name, args.run, waiting=answers)
    console.print(f"{args.name} run {run.run_id}", markup=False)
    with at_work(console, "judging …"):
        if args.force:
            decision = _force(run, workspace, console, reason)
        elif answers:
            decision = _answer(run, workspace, console, approved=args.approve, reason=reason)
        else:
            decision = _judge(run, workspace)
    report = rewrite_report(run, workspace, console)
    facts = _card(run, workspace, decision)
    if args.json:
        more = {"reasons": list(decision.reasons), "new_champion": decision.new_champion, "report": report}
        print(json.dumps({**facts.to_json(), **more}, allow_nan=False))  # noqa: T201
    else:
        print("\n".join([*facts.lines(), *([f"\nreport: {report}"] if report else [])]))  # noqa: T201
    return int(ExitCode.REJECTED if decision.verdict == "reject" and not args.force else ExitCode.OK)


def _card(run: Run, workspace: Workspace, decision: Decision) -> Card:
    history: list[ChampionVersion] = []
    problems = []
    try:
        history = workspace.registry.history(run.pipeline.name)
    except NoriaError as error:  # what was done is done
        problems = [f"the registry's history cannot be read: {error}"]
    candidate, policy = workspace.find(run, "train", Candidate), waited_for(run, workspace)
    return card(decision, candidate, run.pipeline, run_id=run.run_id, history=history, problems=problems, policy=policy)


def _judge(run: Run, workspace: Workspace) -> Decision:
    """Judge anew, whatever stands in the run's record: the champion or the policy may be another one now.

    A run that never got so far gets its record; one that did keeps it, and the new decision is put beside it.

    Raises:
        InputError: A person, or the time-out, has spoken of it: that stands.
    """
    from noria.stages.promote import promote

    if (answer := _final(run, workspace)) is not None:
        raise InputError(
            f"the candidate of run {run.run_id} was answered for: {'; '.join(answer.reasons)}",
            expected="one that nobody has answered for yet",
            remedy=f"Start a new run with `noria run {run.pipeline.name}`, or see --force.",
        )
    if workspace.stage_run(run, "promote") is None:
        run_stage("promote", promote, run, workspace)
        return workspace.require(run, "promote", Decision)
    decision = promote(run, workspace)
    workspace.keep_again(run, decision)
    return decision


def _final(run: Run, workspace: Workspace) -> Decision | None:
    """What has become of a candidate that a person, or the time-out, kept from being the champion."""
    last, asked = workspace.decision(run), workspace.asked(run)
    if last is None or asked is None or last.new_champion:
        return None
    return last if last.approval is not None or (asked.waiting and not last.waiting) else None


def _answer(run: Run, workspace: Workspace, console: Console, *, approved: bool, reason: str) -> Decision:
    """Keep the answer and carry it out; a second try carries out the one that stands, if it is the same."""
    from noria.stages.by_hand import approve
    from noria.stages.release import release

    stands = workspace.approval(run)
    if stands is not None and stands.approved == approved:
        console.print(f"{stands.by} has said so already: {stands.reason}", markup=False)
    else:
        approve(run, workspace, approved=approved, by=user(), reason=reason)
    if workspace.stage_run(run, "release") is None:
        run_stage("release", release, run, workspace)
    elif (last := workspace.decision(run)) is not None and last.waiting:  # judged again after its run had ended
        workspace.keep_again(run, release(run, workspace))
    return workspace.decision(run) or workspace.require(run, "release", Decision)


def _force(run: Run, workspace: Workspace, console: Console, reason: str) -> Decision:
    from noria.stages.by_hand import force

    said = workspace.decision(run)
    verdict = f"{said.verdict}: {'; '.join(said.reasons)}" if said else "nothing: it has not judged this candidate"
    console.print("PROMOTING BY FORCE.", style="bold red")
    console.print(f"The gate says {verdict}", markup=False)
    console.print("This stays in the registry, the ledger and every later report.", style="red")
    decision = force(run, workspace, by=user(), reason=reason)
    console.print(f"version {decision.registered_version} is marked as forced by {user()}: {reason}", markup=False)
    return decision
