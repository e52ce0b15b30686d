"""The checks of the profile azure: first the connections, then everything that they lead to, at once."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from noria.azure import COSTS, LAKE, ML, PRODUCTION, SYNAPSE, AzureConnection
from noria.doctor import local, promotions
from noria.doctor.azure.connections import Connections, check_keys, collect, connection_findings
from noria.doctor.azure.costs import check_costs, costs_resource
from noria.doctor.azure.identity import check_clock, identity_checks, identity_subjects
from noria.doctor.azure.lake import check_lake, check_lock, lake_resource, reached
from noria.doctor.azure.ml import Workspace
from noria.doctor.azure.models import Models
from noria.doctor.azure.synapse import check_pool, pool_resource
from noria.doctor.finding import Finding, Verdict
from noria.doctor.local_promotions import check_registry
from noria.doctor.outbox import check_outbox
from noria.doctor.together import Check, together
from noria.errors import InputError
from noria.ledger import PATH as LEDGER
from noria.pipeline import find_pipelines
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring

CONNECTIONS_SHARE = 0.5
"""Of the time that there is, for the secrets backend."""
LOCAL = ("python", "packages", "disk", "profile", "mail", "pipelines", "prices")
"""Subjects of the local checks that say something here: no Java, no port of a UI, no lake on disk."""


def examine_azure(settings: Settings, seconds: float) -> list[Finding]:
    """Run every check of the profile azure, in so many seconds at most; none of them stops the others."""
    started = time.monotonic()
    _load_packages()
    with _quiet("azure", "msal"):  # what they log is in the findings
        connections = collect(settings, CONNECTIONS_SHARE * seconds)
        checks = [*_local_checks(settings, connections), *_remote_checks(settings, connections)]
        findings = together(checks, seconds - (time.monotonic() - started))
    machine = [finding for finding in findings if finding.subject in LOCAL]
    return [*machine, *connection_findings(connections), *(f for f in findings if f.subject not in LOCAL)]


@contextlib.contextmanager
def _quiet(*names: str) -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _load_packages() -> None:
    """Import what the checks import late: threads that import the same packages at once can block each other."""
    import adlfs  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def _local_checks(settings: Settings, connections: Connections) -> list[Check]:
    run: dict[str, Callable[[Settings], Verdict]] = {
        **local.CHECKS,
        "mail": partial(local.check_mail, connection=connections.mail),
    }
    return [Check(subject, subject, partial(run[subject], settings)) for subject in LOCAL]


def _remote_checks(settings: Settings, connections: Connections) -> list[Check]:
    found, who = connections.usable, identity_subjects(connections)
    checks = [*identity_checks(connections), *_lake_checks(settings, connections, who[LAKE])]
    if SYNAPSE in found:
        pool = found[SYNAPSE]
        checks.append(Check("synapse", pool_resource(pool), partial(check_pool, pool), who[SYNAPSE]))
    if ML in found:
        checks += Workspace(found[ML]).job_checks(who[ML])
    if COSTS in found:
        costs = found[COSTS]
        checks.append(Check("costs", costs_resource(costs), partial(check_costs, costs), who[COSTS]))
    return [*checks, *_promotion_checks(settings, connections, who)]


def _lake_checks(settings: Settings, connections: Connections, after: tuple[str, ...]) -> list[Check]:
    if LAKE in connections.broken:
        return []
    resource, lake = lake_resource(settings.lake_url), connections.usable.get(LAKE)
    return [
        Check("clock", resource, partial(check_clock, settings.lake_url, lake)),
        Check("lake", resource, partial(check_lake, settings.lake_url, lake), after),
        Check("lock", resource, partial(check_lock, settings.lake_url, lake), (*after, "lake")),
        Check("outbox", resource, partial(_check_outbox, settings, lake), (*after, "lake")),
    ]


def _check_outbox(settings: Settings, lake: AzureConnection | None) -> Verdict:
    return check_outbox(reached(settings.lake_url, lake), datetime.now(UTC))


def _promotion_checks(settings: Settings, connections: Connections, who: Mapping[str, tuple[str, ...]]) -> list[Check]:
    found, keyring = connections.usable, _keyring(connections)
    checks = [Check("keys", f"connection {VERDICTS}", partial(check_keys, connections))]
    if settings.registry_url:
        checks.append(Check("registry", "registry", partial(check_registry, settings), ("keys",)))
    elif keeper := found.get(PRODUCTION) or found.get(ML):
        audit = partial(_audited, settings, found, keyring)
        checks += Workspace(keeper).registry_checks((*who[keeper.conn_id], "keys"), audit)
    if LAKE not in connections.broken:
        resource, after = f"{LEDGER} in {lake_resource(settings.lake_url)}", (*who[LAKE], "lake", "keys")
        checks.append(Check("ledger", resource, partial(_check_ledger, settings, found, keyring), after))
    return checks


def _keyring(connections: Connections) -> Keyring | None:
    try:
        return Keyring.parse(connections.keys)
    except InputError:  # the check of the keys says so
        return None


def _registries(found: Mapping[str, AzureConnection], keyring: Keyring) -> list[Models]:
    """Production first; staging behind it, if it is another one."""
    return [Models(found[conn_id], keyring) for conn_id in (PRODUCTION, ML) if conn_id in found]


def _audited(settings: Settings, found: Mapping[str, AzureConnection], keyring: Keyring | None, well: str) -> Verdict:
    if keyring is None:
        return promotions.no_key("the registry")
    production, *staging = _registries(found, keyring)
    names = find_pipelines(settings.pipelines)
    return promotions.audited(production, next(iter(staging), None), names, f"{well}; each version bears its verdict")


def _check_ledger(settings: Settings, found: Mapping[str, AzureConnection], keyring: Keyring | None) -> Verdict:
    lake = reached(settings.lake_url, found.get(LAKE))
    if not promotions.is_kept(lake):
        return "ok", f"{lake.url(LEDGER)} begins with the first decision", ""
    if keyring is None:
        return promotions.no_key(lake.url(LEDGER))
    registry = next(iter(_registries(found, keyring)), None) if not settings.registry_url else None
    return promotions.check_ledger(lake, find_pipelines(settings.pipelines), keyring, registry)
