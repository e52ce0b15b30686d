"""A stand-in for Microsoft Entra ID's login: token endpoint and signing keys, over TLS under the real name.

A child process started with `environment` finds it where login.microsoftonline.com would be, and nothing else.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.azure.twin.certificate import Certificate

HOST = "login.microsoftonline.com"
_SITE = """
import socket
_original = socket.getaddrinfo
def _getaddrinfo(host, port, *args, **kwargs):
    if host == {host!r}:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", {port}))]
    return _original(host, port, *args, **kwargs)
socket.getaddrinfo = _getaddrinfo
"""


@dataclass
class Entra:
    """One tenant with one application."""

    tenant: str
    client_id: str
    client_secret: str
    key: RSAKey = field(
        default_factory=lambda: RSAKey.generate_key(2048, {"kid": "tests", "use": "sig", "alg": "RS256"})
    )
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def code(self, asked_nonce: str, name: str, *, key: RSAKey | None = None, **changed: Any) -> str:
        """An authorisation code for somebody who has just signed in; `changed` claims make the token a wrong one."""
        now = int(time.time())
        claims = {
            "iss": f"https://{HOST}/{self.tenant}/v2.0",
            "aud": self.client_id,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "nonce": asked_nonce,
            "tid": self.tenant,
            "oid": f"00000000-0000-0000-0000-{len(self.claims):012}",
            "sub": name,
            "email": f"{name}@example.com",
            "given_name": name,
        }
        code = f"code-{len(self.claims)}"
        token = jwt.encode({"alg": "RS256", "kid": "tests"}, claims | changed, key or self.key)
        self.claims[code] = {"token_type": "Bearer", "access_token": "opaque", "expires_in": 3600, "id_token": token}
        return code

    def answer(self, method: str, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and body for one request."""
        keys = (f"/{self.tenant}/discovery/v2.0/keys", "/common/discovery/keys")
        if method == "GET" and path in keys:
            return 200, {"keys": [self.key.as_dict(private=False)]}
        if method == "POST" and path == f"/{self.tenant}/oauth2/v2.0/token":
            self.requests.append(form)
            known = form.get("code") in self.claims and form.get("code_verifier")
            return (200, self.claims[form["code"]]) if known else (400, {"error": "invalid_grant"})
        return 404, {"error": path}


@contextmanager
def serving(entra: Entra, folder: Path) -> Iterator[None]:
    """Serve it on loopback; fills its `environment`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", {})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer("POST", dict(urllib.parse.parse_qsl(text)) | {"authorization": self.headers["Authorization"]})

        def _answer(self, method: str, form: dict[str, str]) -> None:
            status, body = entra.answer(method, self.path.partition("?")[0], form)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            return

    made = Certificate.make(folder / "tls", (HOST,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE.format(host=HOST, port=server.server_port))
    entra.environment = {"PYTHONPATH": str(site), "REQUESTS_CA_BUNDLE": str(made.bundle)}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
