"""All checks that a profile needs."""

from __future__ import annotations

from functools import partial

from noria.doctor import local
from noria.doctor.finding import Finding, found
from noria.settings import Settings


def examine(settings: Settings) -> list[Finding]:
    """Run every check of the profile; none of them stops the others."""
    if settings.profile == "azure":
        from noria.doctor.azure import examine_azure

        return examine_azure(settings)
    return [found(subject, partial(check, settings)) for subject, check in local.CHECKS.items()]
