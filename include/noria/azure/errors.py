"""What Azure services refuse, as errors that name the resource, the missing role or the full quota, and the remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from noria.azure.kinds import Kind, Refusal, kind_of
from noria.azure.reading import read_exception
from noria.azure.redact import without_secrets
from noria.azure.services import Service
from noria.errors import (
    AccessError,
    NoriaError,
    QuotaError,
    RefusedError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
    UnavailableError,
)

__all__ = ["Service", "explained", "refused"]


@contextlib.contextmanager
def explained(resource: str, service: Service = Service.STORAGE) -> Iterator[None]:
    """Turn what the Azure SDKs and what wraps them (adlfs, azure.ai.ml) raise into our errors.

    That a file is missing or there already, and whatever does not come from Azure, is raised as it is.

    Args:
        resource: What was asked, as a person names it: "storage account noria, container lake".
        service: Whose it is; it says which role is missing, and whether the lake and the registry refuse (StorageError
            and its kinds) or a service where jobs run (RefusedError, AccessError, QuotaError, UnavailableError).

    Raises:
        UnavailableError: It may pass: throttled (429), 5xx, no connection, time-out, no free capacity.
        AccessError: Nobody is signed in, or the identity lacks a role.
        QuotaError: A quota is full.
        StorageError: Any other refusal of the lake or the registry, and all of theirs.
        RefusedError: Any other refusal of a service where jobs run.
    """
    try:
        yield
    except Exception as error:
        refusal = read_exception(error)
        if refusal is None:
            raise
        # Without a cause: it holds the request, and with it the token.
        raise error_of(refusal, resource, service) from None


def refused(
    resource: str, service: Service = Service.STORAGE, *, code: str = "", message: str = "", status: int = 0
) -> NoriaError:
    """The error for a refusal that was no exception: a job's end, a body that a service answered.

    Args:
        resource: What was asked.
        service: Whose it is.
        code: The service's own word.
        message: Its sentence.
        status: HTTP status, if there was one.
    """
    return error_of(Refusal(status, (code,) if code else (), message), resource, service)


def error_of(refusal: Refusal, resource: str, service: Service) -> NoriaError:
    """Our error for a refusal."""
    kind = kind_of(refusal)
    said = without_secrets(refusal.text)
    detail = f" ({said})" if said else ""
    expected, remedy = _advice(kind, service)
    error_class = _class_of(kind, service)
    return error_class(f"{without_secrets(resource)}: {kind.value}{detail}", expected=expected, remedy=remedy)


def _class_of(kind: Kind, service: Service) -> type[NoriaError]:
    if kind in (Kind.BUSY, Kind.UNREACHABLE, Kind.NO_CAPACITY, Kind.IDENTITY_BUSY):
        return StorageUnavailableError if service.keeps_state else UnavailableError
    if kind in (Kind.NOT_SIGNED_IN, Kind.WRONG_TENANT, Kind.EXPIRED, Kind.NOT_ALLOWED, Kind.LINKED, Kind.NETWORK):
        return StorageAccessError if service.keeps_state else AccessError
    if service.keeps_state:
        return StorageError
    return QuotaError if kind in (Kind.QUOTA, Kind.SKU) else RefusedError


def _advice(kind: Kind, service: Service) -> tuple[str, str]:
    """What was expected, and what to do."""
    if kind is Kind.NOT_ALLOWED:
        expected = f"role {service.role} on {service.scope}"
        return expected, "Grant it to the identity that noria doctor names; it takes effect within 10 minutes."
    name = "NORIA_LAKE_URL" if service is Service.STORAGE else "the connection"
    return "", _REMEDIES[kind].format(name=name)


_REMEDIES = {
    Kind.BUSY: "It may pass, and tasks try again by themselves; https://status.azure.com says more.",
    Kind.UNREACHABLE: "It may pass; if it does not, look at the network and at the address in {name}.",
    Kind.NO_CAPACITY: "It may pass; if it does not, choose another size of machine or another region.",
    Kind.IDENTITY_BUSY: "It may pass, and tasks try again by themselves; if not, look at this machine's identity.",
    Kind.NOT_SIGNED_IN: "Give this machine a managed identity, or the connection a login and a password (client id and "
    "secret) with extra.tenantId; az login on a laptop.",
    Kind.WRONG_TENANT: "Set extra.tenantId of the connection to the tenant of the subscription (az account show).",
    Kind.EXPIRED: "Renew the secret, the certificate or the signature, and look at this machine's clock.",
    Kind.LINKED: "Grant the role Managed Identity Operator, or the one that is named, on the linked resource.",
    Kind.NETWORK: "Allow this network in the service's firewall, or give it a private endpoint.",
    Kind.QUOTA: "Ask for more (Azure portal, Quotas), use fewer or smaller machines, or free what is in use.",
    Kind.SKU: "Choose another size of machine or another region: infra's parameters.",
    Kind.NO_SUCH_NAME: "Mend the name in {name}; a private endpoint needs its DNS zone.",
    Kind.NOT_FOUND: "Create it (infra/), or mend its name in {name}.",
    Kind.CERTIFICATE: "Set REQUESTS_CA_BUNDLE and SSL_CERT_FILE to a bundle with the certificate authority in use.",
    Kind.REFUSED: "See docs/azure.md.",
}
