"""Azure Resource Manager, asked once and without patience."""

from __future__ import annotations

import fnmatch
import urllib.parse
from functools import cached_property
from typing import TYPE_CHECKING, Any

from noria.azure import AzureConnection
from noria.azure.arm import arm_endpoint
from noria.azure.errors import Service, explained
from noria.errors import AccessError, RefusedError, StorageError

if TYPE_CHECKING:
    from azure.core import PipelineClient

ML_API = "2025-12-01"
"""What azure.ai.ml asks for."""
AUTHORIZATION_API = "2022-04-01"
_CONNECT_SECONDS, _READ_SECONDS = 4, 6


class Resources:
    """What Azure Resource Manager tells of anything.

    Args:
        connection: Who asks; where it is not the public cloud its extra holds `cloud` and `cloudMetadata`.
        resource: What is asked about, as an error names it.
        service: Whose role is missing if it refuses.
    """

    def __init__(self, connection: AzureConnection, resource: str, service: Service) -> None:
        self._connection, self._resource, self._service = connection, resource, service
        self._base, self._scopes = arm_endpoint(connection)

    def may_not_at(self, scope: str, *actions: str) -> list[str] | None:
        """Those of the actions that the caller may not do with what has this id; None if Azure does not tell.

        Permissions - List For Resource: https://learn.microsoft.com/rest/api/authorization/permissions
        """
        path = f"{scope}/providers/Microsoft.Authorization/permissions"
        try:
            answer = self._get(path, "the permissions", {"api-version": AUTHORIZATION_API})
        except (AccessError, RefusedError, StorageError):
            return None
        granted = (answer or {}).get("value") or []
        return [action for action in actions if not any(_grants(permission, action) for permission in granted)]

    def _get(self, path: str, what: str, query: dict[str, str], *, may_lack: bool = False) -> dict[str, Any] | None:
        from azure.core.rest import HttpRequest

        with explained(f"{what} of {self._resource}" if what else self._resource, self._service):
            response = self._client.send_request(HttpRequest("GET", f"{self._base}{path}", params=query))
            if may_lack and response.status_code == 404:
                return None
            response.raise_for_status()
            body: dict[str, Any] = response.json()
        return body

    @cached_property
    def _client(self) -> PipelineClient:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy

        return PipelineClient(
            self._base,
            policies=[
                RetryPolicy.no_retries(),
                BearerTokenCredentialPolicy(self._connection.credential(), *self._scopes),
            ],
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        )


class Arm(Resources):
    """What stands below one Azure ML workspace, or beside it in its region.

    Args:
        connection: Its extra holds `subscriptionId`, `resourceGroup`, `workspace`, and where it is not the public cloud
            `cloud` and `cloudMetadata`.
        resource: The workspace as an error names it.
        service: Whose role is missing if it refuses.
    """

    def __init__(self, connection: AzureConnection, resource: str, service: Service) -> None:
        super().__init__(connection, resource, service)
        self._subscription = f"/subscriptions/{connection.require('subscriptionId')}"
        self._provider = "providers/Microsoft.MachineLearningServices"
        group = connection.require("resourceGroup")
        self._scope = (
            f"{self._subscription}/resourceGroups/{group}/{self._provider}/workspaces/{connection.require('workspace')}"
        )

    def workspace(self, path: str = "", what: str = "", **query: str) -> dict[str, Any]:
        """The workspace, or something in it.

        Args:
            path: Below it: "/computes/cluster".
            what: The same as an error names it.
            query: Of the URL.

        Raises:
            NoriaError: See `noria.azure.errors.explained`.
        """
        return self._get(f"{self._scope}{path}", what, {"api-version": ML_API, **query}) or {}

    def has(self, path: str, what: str) -> bool:
        """Whether something stands in the workspace, which does; for the rest as `workspace`."""
        return self._get(f"{self._scope}{path}", what, {"api-version": ML_API}, may_lack=True) is not None

    def every(self, path: str, what: str, **query: str) -> list[dict[str, Any]]:
        """All entries of a list in the workspace, page by page; none if there is no such list; else as `workspace`."""
        place, asked = f"{self._scope}{path}", {"api-version": ML_API, **query}
        found: list[dict[str, Any]] = []
        while True:
            answer = self._get(place, what, asked, may_lack=True) or {}
            found += answer.get("value") or []
            following = answer.get("nextLink")
            if not following:
                return found
            parts = urllib.parse.urlsplit(following)
            place, asked = parts.path, dict(urllib.parse.parse_qsl(parts.query))

    def region(self, location: str, path: str, what: str) -> list[dict[str, Any]]:
        """A list of something of Azure ML in a region: "usages", "vmSizes"."""
        url = f"{self._subscription}/{self._provider}/locations/{location.replace(' ', '').lower()}/{path}"
        return list((self._get(url, what, {"api-version": ML_API}) or {}).get("value") or [])

    def may_not(self, *actions: str) -> list[str] | None:
        """Those of the actions that the caller may not do with the workspace; None if Azure does not tell."""
        return self.may_not_at(self._scope, *actions)


def _grants(permission: dict[str, Any], action: str) -> bool:
    def has(key: str) -> bool:
        return any(fnmatch.fnmatch(action.lower(), pattern.lower()) for pattern in permission.get(key) or [])

    return has("actions") and not has("notActions")
