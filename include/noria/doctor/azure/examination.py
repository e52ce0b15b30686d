"""The checks of the profile azure: first the connections, then everything that they lead to, at once."""

from __future__ import annotations

import logging
import time
from functools import partial

from noria.azure import LAKE, ML, PRODUCTION, SYNAPSE
from noria.doctor import local
from noria.doctor.azure.connections import Connections, collect, connection_findings
from noria.doctor.azure.identity import check_clock, identity_checks
from noria.doctor.azure.lake import check_lake, check_lock, lake_resource
from noria.doctor.azure.ml import Workspace
from noria.doctor.azure.synapse import check_pool, pool_resource
from noria.doctor.finding import Finding
from noria.doctor.together import Check, together
from noria.settings import Settings

ALL_SECONDS = 13.0
"""For everything together; the command promises an answer in 15 s, and starting takes its part."""
CONNECTIONS_SECONDS = 7.0
"""Of these, for the secrets backend."""
LOCAL = ("python", "packages", "disk", "profile", "mail", "pipelines")
"""Subjects of the local checks that say something here: no Java, no port of a UI, no lake on disk."""


def examine_azure(settings: Settings) -> list[Finding]:
    """Run every check of the profile azure; none of them stops the others."""
    started = time.monotonic()
    for noisy in ("azure", "msal", "airflow"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what they say is in the findings
    _load_packages()
    connections = collect(settings, CONNECTIONS_SECONDS)
    checks = [*_local_checks(settings), *_remote_checks(settings, connections)]
    findings = together(checks, ALL_SECONDS - (time.monotonic() - started))
    machine = [finding for finding in findings if finding.subject in LOCAL]
    return [*machine, *connection_findings(connections), *(f for f in findings if f.subject not in LOCAL)]


def _load_packages() -> None:
    """Import what the checks import late: threads that import the same packages at once can block each other."""
    import adlfs  # noqa: F401
    import azure.core
    import azure.identity
    import azure.mgmt.core.tools
    import azure.storage.blob
    import azure.synapse.spark  # noqa: F401


def _local_checks(settings: Settings) -> list[Check]:
    return [Check(subject, subject, partial(local.CHECKS[subject], settings)) for subject in LOCAL]


def _remote_checks(settings: Settings, connections: Connections) -> list[Check]:
    found = connections.usable
    checks = [*identity_checks(connections)]
    lake = found.get(LAKE)
    if LAKE not in connections.broken:
        resource = lake_resource(settings.lake_url)
        checks += [
            Check("clock", resource, partial(check_clock, settings.lake_url, lake)),
            Check("lake", resource, partial(check_lake, settings.lake_url, lake)),
            Check("lock", resource, partial(check_lock, settings.lake_url, lake)),
        ]
    if SYNAPSE in found:
        checks.append(Check("synapse", pool_resource(found[SYNAPSE]), partial(check_pool, found[SYNAPSE])))
    if ML in found:
        checks += Workspace(found[ML]).job_checks()
    if settings.registry_url:
        checks.append(Check("registry", "registry", partial(local.check_registry, settings)))
    elif keeper := found.get(PRODUCTION) or found.get(ML):
        checks += Workspace(keeper).registry_checks()
    return checks
