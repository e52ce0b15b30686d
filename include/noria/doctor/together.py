"""Checks at the same time, none of which can hold up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from noria.azure.redact import without_secrets
from noria.doctor.finding import Finding, Verdict, found

_NAME = "doctor: "


@dataclass(frozen=True)
class Check:
    """A check that asks somebody else.

    Attributes:
        subject: What its line begins with.
        resource: Who is asked, for the line of one that does not answer.
        run: The check.
        after: Subjects without which this one cannot be well.
    """

    subject: str
    resource: str
    run: Callable[[], Verdict]
    after: tuple[str, ...] = ()


def together(checks: list[Check], seconds: float) -> list[Finding]:
    """Run all checks in threads; one that has not ended after so many seconds is a finding.

    Its thread is left to itself: it ends with the process.
    """
    deadline = time.monotonic() + seconds
    findings: dict[int, Finding] = {}
    threads = []
    for place, check in enumerate(checks):
        thread = threading.Thread(
            target=_run, args=(check, place, findings), daemon=True, name=f"{_NAME}{check.subject}"
        )
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return _without_echoes(checks, [findings.get(n) or _overdue(check, seconds) for n, check in enumerate(checks)])


def is_waiting() -> bool:
    """Whether a check of this process still waits for somebody."""
    return any(thread.name.startswith(_NAME) for thread in threading.enumerate())


def _run(check: Check, place: int, findings: dict[int, Finding]) -> None:
    try:
        findings[place] = found(check.subject, check.run)
    except Exception as error:  # a check that breaks shall not take the others' lines with it
        said = without_secrets(f"{type(error).__name__}: {error}")
        findings[place] = Finding(
            check.subject, "fail", f"{check.resource}: {said}", "This is unexpected; look at the connection's values."
        )


def _without_echoes(checks: list[Check], findings: list[Finding]) -> list[Finding]:
    """The findings, where one that fails because another one does says no more than that."""
    failed = {finding.subject for finding in findings if finding.status == "fail"}
    told = []
    for check, finding in zip(checks, findings, strict=True):
        causes = [subject for subject in check.after if subject in failed]
        if finding.status == "fail" and causes:
            detail = f"{check.resource}: not known, see {causes[0]}"
            told.append(replace(finding, detail=detail, remedy=f"Mend {causes[0]} first."))
        else:
            told.append(finding)
    return told


def _overdue(check: Check, seconds: float) -> Finding:
    return Finding(
        check.subject,
        "fail",
        f"{check.resource}: no answer within {seconds:.0f} s",
        "See whether the service is up (https://status.azure.com), and what network, proxy and firewall let through.",
    )
