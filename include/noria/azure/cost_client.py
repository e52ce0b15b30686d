"""How Cost Management is asked: the SDK's client, with the patience that its throttling wants.

The SDK's own retries know no header of this service, repeat a POST that may have worked, and give up after seconds; so
they are off, and what may pass is waited out here. Bodies are plain JSON: what is kept is compared with what is wanted,
key by key.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from noria.azure.arm import arm_endpoint
from noria.azure.connection import AzureConnection
from noria.azure.errors import Service, explained, refused
from noria.azure.reading import read_exception
from noria.azure.renewal import Renewing
from noria.errors import AccessError, InputError, NoriaError, UnavailableError

if TYPE_CHECKING:
    from azure.mgmt.costmanagement import CostManagementClient

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0
EXPORT_NAME = "noria-costs"
"""Of the export, where the connection names none."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_ASKED = re.compile(r"retry-after|x-ms-ratelimit-microsoft\.costmanagement-\w+-retry-after", re.I)
"""One for each limit (qpu, entity, tenant): https://learn.microsoft.com/azure/cost-management-billing/costs/manage-automation."""
_SCOPE = re.compile(r"subscriptions/[\w-]+(/resourceGroups/[\w.()-]+)?", re.I)
_ABOUT_STORAGE = re.compile(r"storage account|storageAccounts/", re.I)
T = TypeVar("T")
Json = dict[str, Any]


class CostClient(Renewing):
    """Exports, queries and budgets of the scope that a connection names.

    Every method raises UnavailableError after two minutes of throttling, failures or silence, or at once where the
    service asks for a longer pause; AccessError and RefusedError at once.

    Args:
        connection: `azure_costs`: its extra holds `scope` and, for an export, `storageAccountId` and `exportName`.
        patience_seconds: When to give up.

    Raises:
        InputError: It names no scope, or one of another kind.
    """

    def __init__(self, connection: AzureConnection, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._connection, self._patience_seconds = connection, patience_seconds
        self.scope = connection.require("scope").strip("/")
        if not _SCOPE.fullmatch(self.scope):
            raise InputError(
                f"extra.scope of connection {connection.conn_id} is {connection.get('scope')!r}",
                expected="/subscriptions/ID or /subscriptions/ID/resourceGroups/NAME",
                remedy="See docs/azure.md.",
            )
        self.export_name = connection.get("exportName") or EXPORT_NAME
        for noisy in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity"):
            logging.getLogger(noisy).setLevel(logging.WARNING)

    @property
    def resource(self) -> str:
        """What is asked, as an error names it."""
        return f"Cost Management of /{self.scope}"

    @property
    def storage_account(self) -> str:
        """Resource id of the account that takes the export. Raises InputError if the connection names none."""
        return self._connection.require("storageAccountId")

    def export(self) -> Json | None:
        """The export as it is kept, or none."""
        return self._ask(
            lambda: _or_none(lambda: self._sdk.exports.get(self.scope, self.export_name).as_dict()), self._export
        )

    def put_export(self, body: Json) -> None:
        """Create the export, or replace it; `eTag` in the body is of the one that is replaced."""
        try:
            self._ask(
                lambda: self._sdk.exports.create_or_update(self.scope, self.export_name, _any(body)), self._export
            )
        except AccessError as error:
            refusal = read_exception(error.__context__) if isinstance(error.__context__, Exception) else None
            if refusal is None or not _ABOUT_STORAGE.search(refusal.message):
                raise
            # It is the account that must not be touched, not the costs.
            what = f"{self._export}{self.resource}"
            raise refused(what, Service.EXPORTS, code="AuthorizationFailed", message=refusal.message) from None

    def run_export(self, first: date, last: date) -> None:
        """Have the export run for days, both ends included; they are of one month."""
        body = {"timePeriod": {"from": f"{first}T00:00:00Z", "to": f"{last}T23:59:59Z"}}
        before = {run["name"] for run in self.runs()}

        def begun() -> bool | None:
            """Whether a request without a good answer was taken all the same."""
            mine = (run for run in self.runs() if run["name"] not in before)
            return True if any(str(run["properties"].get("startDate"))[:10] == str(first) for run in mine) else None

        def run() -> bool:
            self._sdk.exports.execute(self.scope, self.export_name, _any(body))
            return True

        self._ask(run, self._export, begun)

    def runs(self) -> list[Json]:
        """The export's newest runs, of any state; none of an export that is not there."""
        found = self._ask(
            lambda: _or_none(lambda: self._sdk.exports.get_execution_history(self.scope, self.export_name).as_dict()),
            self._export,
        )
        return list((found or {}).get("value") or [])

    def query(self, definition: Json) -> Iterator[Json]:
        """Pages of an answer: `columns` and `rows`."""
        page = self._ask(lambda: self._sdk.query.usage(self.scope, _any(definition)))
        properties = page.as_dict().get("properties") if page is not None else None
        while properties:
            yield properties
            link = properties.get("nextLink")
            properties = self._ask(lambda link=link: self._next(link, definition)) if link else None  # type: ignore[misc]

    def budgets(self) -> list[Json]:
        """All budgets of the scope, those of others too."""
        return self._ask(lambda: [found.as_dict() for found in self._sdk.budgets.list(self.scope)])

    def put_budget(self, name: str, body: Json) -> None:
        """Create a budget, or replace it."""
        self._ask(lambda: self._sdk.budgets.create_or_update(self.scope, name, _any(body)), f"budget {name}, ")

    def delete_budget(self, name: str) -> None:
        """Remove a budget; nothing happens where there is none."""
        self._ask(lambda: _or_none(lambda: self._sdk.budgets.delete(self.scope, name)), f"budget {name}, ")

    @property
    def _export(self) -> str:
        return f"export {self.export_name}, "

    def _next(self, link: str, definition: Json) -> Json:
        """A further page: the same question to the link, which the SDK does not follow."""
        from azure.core.rest import HttpRequest

        base, _ = arm_endpoint(self._connection)
        if not link.startswith(f"{base}/"):  # the token goes nowhere else
            raise refused(self.resource, Service.COSTS, message=f"the next page would be elsewhere, not at {base}")
        response = self._sdk.send_request(HttpRequest("POST", link, json=definition))
        response.raise_for_status()
        properties: Json = response.json()["properties"]
        return properties

    def _ask(self, what: Callable[[], T], detail: str = "", look: Callable[[], T | None] = lambda: None) -> T:
        """Ask until there is an answer.

        Args:
            what: The request.
            detail: What it is about, beside the scope.
            look: Done before a further try of what may have worked; what it finds is the answer.
        """

        def ask() -> T:
            with explained(f"{detail}{self.resource}", Service.COSTS):
                return what()

        return self._until_answered(ask, look, pause_seconds, self._patience_seconds)

    @cached_property
    def _sdk(self) -> CostManagementClient:
        from azure.mgmt.costmanagement import CostManagementClient

        base, scopes = arm_endpoint(self._connection)
        return CostManagementClient(
            self._connection.credential(),
            base_url=base,
            credential_scopes=scopes,
            retry_total=0,
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        )


def pause_seconds(error: UnavailableError, failures: int) -> float:
    """How long to wait after so many failures in a row: the longest that any header asks for, or a doubling pause."""
    headers: Mapping[str, str] = getattr(getattr(error.__context__, "response", None), "headers", None) or {}
    asked = [float(value) for name, value in headers.items() if _ASKED.fullmatch(name) and value.isdecimal()]
    return max([*asked, min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))])


def status_of(error: NoriaError) -> int:
    """HTTP status of the answer that an error came from; 0 if there was none."""
    return int(getattr(getattr(error.__context__, "response", None), "status_code", 0) or 0)


def is_stale(error: NoriaError) -> bool:
    """Whether somebody else changed the thing since it was read (its eTag is another)."""
    return status_of(error) in (409, 412)


def _or_none(what: Callable[[], T]) -> T | None:
    from azure.core.exceptions import ResourceNotFoundError

    try:
        return what()
    except ResourceNotFoundError as error:
        if _codes(error) & {"subscriptionnotfound", "resourcegroupnotfound"}:
            raise  # it is not the thing that is missing, but all of its scope
        return None


def _codes(error: Exception) -> set[str]:
    refusal = read_exception(error)
    return {code.lower() for code in refusal.codes} if refusal else set()


def _any(body: Json) -> Any:
    """JSON where the SDK asks for its models: it sends a mapping as it is."""
    return body
