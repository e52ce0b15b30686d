"""All checks that a profile needs."""

from __future__ import annotations

from functools import partial

from noria.doctor import local
from noria.doctor.finding import Finding, found
from noria.settings import Settings

SECONDS = 13.0
"""For all checks that ask a service far away."""


def examine(settings: Settings, seconds: float = SECONDS) -> list[Finding]:
    """Run every check of the profile; none of them stops the others.

    Args:
        settings: What is looked at.
        seconds: When answers from far away are waited for no longer.
    """
    if settings.profile == "azure":
        from noria.doctor.azure import examine_azure

        return examine_azure(settings, seconds)
    return [found(subject, partial(check, settings)) for subject, check in local.CHECKS.items()]
