"""An Airflow connection to Azure as plain data, and the Entra ID credential that it stands for."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from noria.errors import InputError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

_LEGACY_KEY = re.compile(r"extra__.+?__(.+)")
_EXTRA_KEY = "__extra__"
_AUTHORITIES = {
    "AzureUSGovernment": "login.microsoftonline.us",
    "AzureChinaCloud": "login.chinacloudapi.cn",
}
"""Where the sovereign clouds sign in (azure.identity.AzureAuthorityHosts), by the names that Azure's tools use."""


PATIENCE = {"retry_total": 30, "retry_status": 30, "retry_backoff_max": 10}
"""How credentials bear a throttled endpoint for a minute, where it says "in 2 s"; else they give up after 6 s."""


@dataclass(frozen=True)
class AzureConnection:
    """An Airflow connection, without Airflow.

    Attributes:
        conn_id: Its id.
        host: Host or URL of the service, with the port if the connection names one.
        login: Client id of a service principal, or empty.
        password: Its secret, or that of its certificate, or empty.
        extra: All else, with the keys of the azure provider; the provider's old prefixes (`extra__azure__`) are gone.
    """

    conn_id: str
    host: str = ""
    login: str = ""
    password: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

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

    @property
    def tenant(self) -> str:
        """The tenant, by either of the names that the azure provider's connections give it; or empty."""
        return self.get("tenantId") or self.get("tenant_id")

    @property
    def authority(self) -> str:
        """Where tokens come from, if it is not the public cloud (or AZURE_AUTHORITY_HOST); or empty."""
        cloud = self.get("cloud_environment") or self.get("cloud")
        return self.get("authority") or _AUTHORITIES.get(cloud, "")

    @property
    def identity(self) -> str:
        """The kind of identity, in words."""
        if self.login and (self.get("certificate_path") or self.get("certificate_data")):
            return f"service principal {self.login} with a certificate"
        if self.login and self.password:
            return f"service principal {self.login}"
        if client_id := self.get("managed_identity_client_id"):
            return f"managed identity {client_id}"
        return "what Azure's chain of credentials finds"

    def credential(self) -> TokenCredential:
        """The identity that this connection stands for; the same object each time, since it keeps the tokens.

        A login with a password or with a certificate (`certificate_path`, or `certificate_data` in PEM) is a service
        principal. Anything else is what Azure's own chain finds: environment, workload identity, managed identity
        (`managed_identity_client_id` chooses a user-assigned one), Azure CLI.

        Raises:
            InputError: A service principal without a tenant, or whose certificate cannot be read.
        """
        return self._credential

    @cached_property
    def _credential(self) -> TokenCredential:
        from azure.identity import ClientSecretCredential, DefaultAzureCredential

        options: dict[str, Any] = dict(PATIENCE)
        if self.authority:
            options["authority"] = self.authority
        if self.login and (self.get("certificate_path") or self.get("certificate_data")):
            return self._certificate_credential(options)
        if self.login and self.password:
            return ClientSecretCredential(self._require_tenant(), self.login, self.password, **options)
        for name in ("managed_identity_client_id", "workload_identity_tenant_id"):
            if self.get(name):
                options[name] = self.get(name)
        return DefaultAzureCredential(**options)

    def _certificate_credential(self, options: dict[str, Any]) -> TokenCredential:
        from azure.identity import CertificateCredential

        data = self.get("certificate_data").encode() or None
        try:
            return CertificateCredential(
                self._require_tenant(),
                self.login,
                None if data else self.get("certificate_path"),
                certificate_data=data,
                password=self.password or None,
                **options,
            )
        except (ValueError, OSError, TypeError) as error:
            missing = f": {error.strerror}" if isinstance(error, OSError) else ""  # others may quote the key
            raise InputError(
                f"the certificate of connection {self.conn_id} cannot be read{missing}",
                expected="a PEM or PKCS12 file with its private key at extra.certificate_path, or PEM text at "
                "extra.certificate_data; its password as the connection's password",
            ) from None

    def _require_tenant(self) -> str:
        return self.tenant or self.require("tenantId")

    @classmethod
    def _from_json(cls, conn_id: str, text: str) -> AzureConnection:
        facts = json.loads(text)
        extra = facts.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        host, port = facts.get("host") or "", facts.get("port")
        return cls(
            conn_id,
            host=f"{host.rstrip('/')}:{int(port)}" if port else host,
            login=facts.get("login") or "",
            password=facts.get("password") or "",
            extra=_unprefixed(extra),
        )

    @classmethod
    def _from_uri(cls, conn_id: str, text: str) -> AzureConnection:
        """`TYPE://[PROTOCOL://][LOGIN[:PASSWORD]@]HOST[:PORT][/SCHEMA][?EXTRA]`, every part quoted."""
        conn_type, separator, rest = text.strip().partition("://")
        if not (conn_type and separator):
            raise ValueError
        protocol, separator, address = rest.partition("://")
        if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", protocol):
            protocol, separator, address = "", "", rest
        parts = urllib.parse.urlsplit(f"//{address}")
        host, port = parts.netloc.rpartition("@")[2], parts.port
        if port:
            host = host.rpartition(":")[0]
        host = f"{protocol}{separator}{urllib.parse.unquote(host)}"
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        extra = json.loads(query[_EXTRA_KEY]) if _EXTRA_KEY in query else {k: _nested(v) for k, v in query.items()}
        return cls(
            conn_id,
            host=f"{host}:{port}" if port else host,
            login=urllib.parse.unquote(parts.username or ""),
            password=urllib.parse.unquote(parts.password or ""),
            extra=_unprefixed(extra),
        )


def _unprefixed(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Keys without the prefix that old versions of the azure provider gave them; a key without one wins."""
    plain = {key: value for key, value in extra.items() if not _LEGACY_KEY.fullmatch(key)}
    legacy = {match[1]: value for key, value in extra.items() if (match := _LEGACY_KEY.fullmatch(key))}
    return {**legacy, **plain}


def _nested(value: str) -> Any:
    """A value of a URI's query, where JSON may stand for what is no text."""
    if value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return value
