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


NO_NAME_NOW = "EAI_AGAIN"
"""The resolver's own code where it has no answer at the moment."""


@dataclass(frozen=True)
class Refusal:
    """What a service said, wherever it said it.

    Attributes:
        status: HTTP status, or 0 without an answer.
        codes: The service's codes, the outermost first.
        message: Its sentence, on one line.
        origin: What is known without its words: "connection", "identity" (it failed), "no identity", or nothing.
        request_id: The service's id of the request, which Azure's support asks for.
    """

    status: int = 0
    codes: tuple[str, ...] = ()
    message: str = ""
    origin: str = ""
    request_id: str = ""

    @property
    def text(self) -> str:
        """Status, codes and sentence as one phrase."""
        words = [str(self.status)] if self.status else []
        words += [code for code in dict.fromkeys(self.codes) if code not in self.message]
        parts = [": ".join(filter(None, (" ".join(words), self.message.rstrip(".")))), ""]
        if self.request_id:
            parts[1] = f"request {self.request_id}"
        return "; ".join(filter(None, parts))


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
    Kind.EXPIRED: "ExpiredAuthenticationToken InvalidAuthenticationToken AuthenticationFailed "
    "InvalidAuthenticationInfo AADSTS7000215 AADSTS7000222 AADSTS700027 AADSTS700024 InvalidSasToken",
    Kind.IDENTITY_BUSY: "AADSTS90033 AADSTS50196 temporarily_unavailable",
    Kind.NOT_SIGNED_IN: "NoAuthenticationInformation AuthenticationFailedMissingToken",
    Kind.NOT_ALLOWED: "AuthorizationFailed AuthorizationPermissionMismatch Forbidden ForbiddenByRbac "
    "InsufficientAccountPermissions RoleAssignmentNotFound RBACAccessDenied",
    Kind.BUSY: "TooManyRequests ServerBusy OperationTimedOut ServerTimeout ServiceUnavailable GatewayTimeout Throttled "
    "InternalServerError InternalError SubscriptionRequestsThrottled AnotherOperationInProgress",
    Kind.NOT_FOUND: "ResourceNotFound ContainerNotFound FilesystemNotFound WorkspaceNotFound ComputeNotFound "
    "ResourceGroupNotFound SubscriptionNotFound BigDataPoolNotFound SparkPoolNotFound BlobNotFound PathNotFound "
    "ContainerBeingDeleted NotFound UserError.NotFound",
}
_KIND_OF_CODE = {code.lower(): kind for kind, codes in _CODES.items() for code in codes.split()}
_KIND_OF_CODE[NO_NAME_NOW.lower()] = Kind.UNREACHABLE
# The most telling first: a body may hold an outer "Forbidden" and an inner "ForbiddenByFirewall".
_RANK = {kind: place for place, kind in enumerate((Kind.CERTIFICATE, Kind.UNREACHABLE, Kind.NO_SUCH_NAME, *_CODES))}
_LIMITS = {Kind.NO_CAPACITY, Kind.QUOTA, Kind.SKU}
_KIND_OF_STATUS = {
    401: Kind.EXPIRED,
    403: Kind.NOT_ALLOWED,
    404: Kind.NOT_FOUND,
    408: Kind.BUSY,
    410: Kind.NOT_FOUND,
    429: Kind.BUSY,
    501: Kind.REFUSED,
}
_WORDS = {
    Kind.CERTIFICATE: r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|SSLCertVerificationError",
    Kind.UNREACHABLE: r"Temporary failure in name resolution",
    Kind.NO_SUCH_NAME: r"Name or service not known|NameResolutionError|nodename nor servname|No address associated",
    Kind.QUOTA: r"vcores?\b.{0,60}\bcore limit\b|exceed\w* .{0,60}quota|quota .{0,40}exceed",
    Kind.NOT_ALLOWED: r"required Synapse RBAC permission",  # it comes as 401 with the code Unauthorized
    Kind.WRONG_TENANT: r"wrong issuer|issuer (validation failed|did not match)|does not match .{0,60}tenant",
}
_PATTERNS = {kind: re.compile(pattern, re.I | re.S) for kind, pattern in _WORDS.items()}
_CODE_IN_TEXT = re.compile(r"\bAADSTS\d+\b|\b[A-Z]+(?:_[A-Z]+){2,}\b")


def kind_of(refusal: Refusal) -> Kind:
    """The kind: from the codes, the sentence and the status, in this order, but a sentence may say more than a code."""
    codes = [code.lower() for code in (*refusal.codes, *_CODE_IN_TEXT.findall(refusal.message))]
    kinds = {_KIND_OF_CODE[code] for code in codes if code in _KIND_OF_CODE}
    if refusal.status == 429 and not kinds & _LIMITS:
        return Kind.BUSY
    if not kinds & _LIMITS:  # "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED" speaks of a quota too
        kinds |= {kind for kind, pattern in _PATTERNS.items() if pattern.search(refusal.message)}
    return min(kinds, key=_RANK.__getitem__) if kinds else _kind_without_words(refusal)


def _kind_without_words(refusal: Refusal) -> Kind:
    if refusal.origin == "connection":
        return Kind.UNREACHABLE
    if refusal.origin == "identity":
        return Kind.NOT_SIGNED_IN if 400 <= refusal.status < 500 and refusal.status != 429 else Kind.IDENTITY_BUSY
    if refusal.origin == "no identity":
        return Kind.NOT_SIGNED_IN
    broken_off = 200 <= refusal.status < 300  # the answer was good, but its body did not arrive whole
    return _KIND_OF_STATUS.get(refusal.status, Kind.BUSY if broken_off or refusal.status >= 500 else Kind.REFUSED)
