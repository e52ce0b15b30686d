"""Kinds of refusals, told by the services' own codes and statuses.

The codes are those of the error references of Azure Storage, Azure Resource Manager, Azure ML, Synapse and Entra ID.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class Kind(enum.Enum):
    """Why a service refused, as an error says it."""

    BUSY = "does not answer well at the moment"
    UNREACHABLE = "no connection"
    NO_CAPACITY = "Azure has no free machines of this size at the moment"
    IDENTITY_BUSY = "Entra ID gives no token at the moment"
    NOT_SIGNED_IN = "nobody is signed in"
    WRONG_TENANT = "the identity is of another tenant"
    EXPIRED = "the credential has expired or is wrong"
    NOT_ALLOWED = "the identity may not do this"
    LINKED = "the identity may not use a linked resource"
    NETWORK = "the network is not allowed"
    QUOTA = "the quota is full"
    SKU = "this size of machine is not offered there"
    NO_SUCH_NAME = "there is no such host"
    NOT_FOUND = "there is no such thing"
    CERTIFICATE = "its certificate is not trusted"
    REFUSED = "refused"


@dataclass(frozen=True)
class Refusal:
    """What a service said, wherever it said it.

    Attributes:
        status: HTTP status, or 0 without an answer.
        codes: The service's codes, the outermost first.
        message: Its sentence, on one line.
        origin: What is known without its words: "connection", "identity" or nothing.
    """

    status: int = 0
    codes: tuple[str, ...] = ()
    message: str = ""
    origin: str = ""

    @property
    def text(self) -> str:
        """Status, codes and sentence as one phrase."""
        words = [str(self.status)] if self.status else []
        words += [code for code in dict.fromkeys(self.codes) if code not in self.message]
        head = " ".join(words)
        return f"{head}: {self.message}" if head and self.message else head or self.message


_CODES = {
    Kind.NO_CAPACITY: "AllocationFailed ZonalAllocationFailed OverconstrainedAllocationRequest OutOfCapacity "
    "OverconstrainedZonalAllocationRequest InsufficientCapacity InsufficientResources "
    "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED AVAILABLE_WORKSPACE_CAPACITY_EXCEEDED",
    Kind.QUOTA: "QuotaExceeded ResourceQuotaExceeded ClusterCoreQuotaReached ClusterMinNodesExceedCoreQuota "
    "SubscriptionCoreQuotaExceeded NotEnoughQuota InsufficientQuota SparkComputeQuotaExceeded VCoresQuotaExceeded "
    "MAXIMUM_WORKSPACE_CAPACITY_EXCEEDED AccountLimitExceeded",
    Kind.SKU: "SkuNotAvailable",
    Kind.LINKED: "LinkedAuthorizationFailed LinkedAccessCheckFailed",
    Kind.NETWORK: "AuthorizationFailure ClientIpAddressNotAuthorized ForbiddenByFirewall ForbiddenByConnection "
    "AuthorizationSourceIPMismatch PublicNetworkAccessDisabled",
    Kind.WRONG_TENANT: "InvalidAuthenticationTokenTenant AADSTS50020 AADSTS90002 AADSTS700016 AADSTS500011",
    Kind.EXPIRED: "ExpiredAuthenticationToken AuthenticationFailed InvalidAuthenticationInfo AADSTS7000215 "
    "AADSTS7000222 AADSTS700027 AADSTS700024 InvalidSasToken",
    Kind.IDENTITY_BUSY: "AADSTS90033 AADSTS50196 temporarily_unavailable",
    Kind.NOT_SIGNED_IN: "InvalidAuthenticationToken NoAuthenticationInformation AuthenticationFailedMissingToken",
    Kind.NOT_ALLOWED: "AuthorizationFailed AuthorizationPermissionMismatch Forbidden ForbiddenByRbac "
    "InsufficientAccountPermissions RoleAssignmentNotFound",
    Kind.BUSY: "TooManyRequests ServerBusy OperationTimedOut ServerTimeout ServiceUnavailable GatewayTimeout Throttled "
    "InternalServerError InternalError SubscriptionRequestsThrottled",
    Kind.NOT_FOUND: "ResourceNotFound ContainerNotFound FilesystemNotFound WorkspaceNotFound ComputeNotFound "
    "ResourceGroupNotFound SubscriptionNotFound BigDataPoolNotFound SparkPoolNotFound BlobNotFound PathNotFound "
    "ContainerBeingDeleted NotFound UserError.NotFound",
}
_KIND_OF_CODE = {code.lower(): kind for kind, codes in _CODES.items() for code in codes.split()}
# The most telling first: a body may hold an outer "Forbidden" and an inner "ForbiddenByFirewall".
_RANK = {kind: place for place, kind in enumerate(_CODES)}
_KIND_OF_STATUS = {
    401: Kind.EXPIRED,
    403: Kind.NOT_ALLOWED,
    404: Kind.NOT_FOUND,
    408: Kind.BUSY,
    410: Kind.NOT_FOUND,
    429: Kind.BUSY,
    501: Kind.REFUSED,
}
_KIND_OF_WORDS = (
    (Kind.CERTIFICATE, r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|SSLCertVerificationError"),
    (Kind.NO_SUCH_NAME, r"Name or service not known|NameResolutionError|nodename nor servname|No address associated"),
    (Kind.QUOTA, r"vcores?.{0,60}\bcore limit\b|exceed\w* .{0,40}quota|quota .{0,40}exceed|out of quota"),
    (Kind.WRONG_TENANT, r"wrong issuer|does not match .{0,60}tenant|not in the .{0,20}tenant"),
)
_WORDS = tuple((kind, re.compile(pattern, re.I | re.S)) for kind, pattern in _KIND_OF_WORDS)


def kind_of(refusal: Refusal) -> Kind:
    """The kind, from the codes, else from the words, else from the status."""
    codes = [*refusal.codes, *re.findall(r"\bAADSTS\d+\b|\b[A-Z]+(?:_[A-Z]+){2,}\b", refusal.message)]
    known = [_KIND_OF_CODE[code.lower()] for code in codes if code.lower() in _KIND_OF_CODE]
    if known:
        return min(known, key=_RANK.__getitem__)
    for kind, pattern in _WORDS:
        if pattern.search(refusal.message):
            return kind
    return _kind_without_words(refusal)


def _kind_without_words(refusal: Refusal) -> Kind:
    if refusal.status in _KIND_OF_STATUS:
        return _KIND_OF_STATUS[refusal.status]
    if refusal.status >= 500:
        return Kind.IDENTITY_BUSY if refusal.origin == "identity" else Kind.BUSY
    if refusal.origin == "connection":
        return Kind.UNREACHABLE
    return Kind.NOT_SIGNED_IN if refusal.origin == "identity" else Kind.REFUSED
