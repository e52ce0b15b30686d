"""An Airflow connection to Azure as plain data, and the Entra ID credential that it stands for."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from noria.errors import InputError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential


@dataclass(frozen=True)
class AzureConnection:
    """An Airflow connection, without Airflow.

    Attributes:
        conn_id: Its id.
        host: Host or URL of the service.
        login: Client id of a service principal, or empty.
        password: Its secret, or empty.
        extra: All else, with the keys of the azure provider.
    """

    conn_id: str
    host: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, conn_id: str, text: str) -> AzureConnection:
        """From Airflow's JSON or URI form.

        Raises:
            InputError: It is neither; its text is not shown, since it may hold a secret.
        """
        try:
            return cls._from_json(conn_id, text) if text.lstrip().startswith("{") else cls._from_uri(conn_id, text)
        except (ValueError, TypeError, AttributeError):
            raise InputError(
                f"connection {conn_id} cannot be read",
                expected='JSON such as {"conn_type": "azure", "extra": {…}}, or a URI',
            ) from None

    def get(self, key: str) -> str:
        """A text of `extra`, or an empty one."""
        return str(self.extra.get(key) or "")

    def require(self, key: str) -> str:
        """A text of `extra`.

        Raises:
            InputError: It is not there.
        """
        if value := self.get(key):
            return value
        raise InputError(
            f"connection {self.conn_id} has no {key!r}", expected=f"a text at extra.{key}", remedy="See docs/azure.md."
        )

    def credential(self) -> TokenCredential:
        """The identity that this connection stands for.

        A login with a password is a service principal. Anything else is what Azure's own chain finds: environment,
        workload identity, managed identity (`managed_identity_client_id` chooses a user-assigned one), Azure CLI.
        """
        from azure.identity import ClientSecretCredential, DefaultAzureCredential

        if self.login and self.password:
            return ClientSecretCredential(self.require("tenantId"), self.login, self.password)
        chosen = {
            name: self.get(name)
            for name in ("managed_identity_client_id", "workload_identity_tenant_id")
            if self.get(name)
        }
        return DefaultAzureCredential(**chosen)

    @classmethod
    def _from_json(cls, conn_id: str, text: str) -> AzureConnection:
        facts = json.loads(text)
        extra = facts.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        host, port = facts.get("host") or "", facts.get("port")
        return cls(
            conn_id,
            host=f"{host}:{port}" if port else host,
            login=facts.get("login") or "",
            password=facts.get("password") or "",
            extra=dict(extra),
        )

    @classmethod
    def _from_uri(cls, conn_id: str, text: str) -> AzureConnection:
        parts = urllib.parse.urlsplit(text)
        query = dict(urllib.parse.parse_qsl(parts.query))
        extra = json.loads(query.pop("__extra__")) if "__extra__" in query else query
        if not parts.scheme:
            raise ValueError
        return cls(
            conn_id,
            host=urllib.parse.unquote(parts.netloc.rpartition("@")[2]),
            login=urllib.parse.unquote(parts.username or ""),
            password=urllib.parse.unquote(parts.password or ""),
            extra=extra,
        )
