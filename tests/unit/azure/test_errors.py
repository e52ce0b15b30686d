"""Refusals as the real SDKs raise them, from answers of a real server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import pytest
import requests
from adlfs import AzureBlobFileSystem
from azure.ai.ml.exceptions import ErrorCategory, ErrorTarget, ValidationException
from azure.core import PipelineClient
from azure.core.exceptions import ServiceRequestError, ServiceResponseError, map_error
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential, DefaultAzureCredential
from azure.storage.blob import BlobServiceClient
from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

from noria.azure.errors import Service, explained, refused
from noria.errors import (
    AccessError,
    InputError,
    NoriaError,
    QuotaError,
    RefusedError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
    UnavailableError,
)

ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
TOKEN = "eyJhbGciOiJub25lIn0.eyJwbGFudGVkIjoidG9rZW4ifQ.c2lnbmVk"


@dataclass
class Answer:
    """What the server says to everything."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Server:
    """Answers every request alike; `port` is closed once it has ended."""

    def __init__(self) -> None:
        self.answer = Answer(500)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = outer.answer
                if answer.status == 0:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body.encode())))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body.encode())

            do_PUT = do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def server(running: Server) -> Server:
    running.answer = Answer(500)
    return running


def _connection_string(server: Server) -> str:
    return (
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
        f"AccountKey={ACCOUNT_KEY};BlobEndpoint={server.url}/devstoreaccount1;"
    )


def _ask_storage(server: Server) -> None:
    client = BlobServiceClient.from_connection_string(_connection_string(server), retry_total=0)
    client.get_container_client("lake").get_container_properties()


def _ask_arm(server: Server) -> None:
    """As the generated clients of azure.ai.ml and azure.synapse do it."""
    client: Any = PipelineClient(server.url, policies=[RetryPolicy(retry_total=0)])
    response = client.send_request(HttpRequest("GET", f"{server.url}/subscriptions/s"))
    if response.status_code >= 400:
        from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

        map_error(response.status_code, response, {401: ClientAuthenticationError, 404: ResourceNotFoundError})
        raise HttpResponseError(response=response)


def _storage(code: str, message: str, status: int) -> Answer:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}\nRequestId:7\nTime:now</Message></Error>'
    return Answer(
        status, body, {"Content-Type": "application/xml", "x-ms-error-code": code, "x-ms-request-id": "req-7"}
    )


def _arm(code: str, message: str, status: int, **more: object) -> Answer:
    body = json.dumps({"error": {"code": code, "message": message, **more}})
    return Answer(status, body, {"Content-Type": "application/json", "x-ms-request-id": "req-7"})


def _raised(ask: Callable[[], object], service: Service = Service.STORAGE) -> NoriaError:
    with pytest.raises(NoriaError) as caught, explained("the thing that was asked", service):
        ask()
    error = caught.value
    assert error.__cause__ is None and error.__suppress_context__, "a traceback would show the request"
    assert "the thing that was asked" in str(error)
    assert "\n" not in str(error)
    return error


STORAGE_ANSWERS = {
    "missing role": (
        _storage("AuthorizationPermissionMismatch", "This request is not authorized using this permission.", 403),
        StorageAccessError,
        "Storage Blob Data Contributor",
    ),
    "firewall": (
        _storage("AuthorizationFailure", "This request is not authorized.", 403),
        StorageAccessError,
        "firewall",
    ),
    "wrong signature": (
        _storage("AuthenticationFailed", "Server failed to authenticate.", 403),
        StorageAccessError,
        "clock",
    ),
    "other tenant": (
        _storage("InvalidAuthenticationInfo", "Issuer validation failed. Issuer did not match.", 401),
        StorageAccessError,
        "tenantId",
    ),
    "deleted container": (
        _storage("ContainerNotFound", "The specified container does not exist.", 404),
        StorageError,
        "Create it",
    ),
    "throttled": (_storage("ServerBusy", "The server is busy.", 503), StorageUnavailableError, "try again"),
    "timed out": (_storage("OperationTimedOut", "It took too long.", 500), StorageUnavailableError, "try again"),
    "bad request": (_storage("InvalidHeaderValue", "A header is not supported.", 400), StorageError, "docs/azure.md"),
}


@pytest.mark.parametrize("case", STORAGE_ANSWERS)
def test_storage(server: Server, case: str) -> None:
    answer, kind, remedy = STORAGE_ANSWERS[case]
    server.answer = answer
    error = _raised(lambda: _ask_storage(server))
    assert type(error) is kind
    assert remedy in str(error)
    assert "req-7" in str(error), "Azure's support asks for it"
    assert "Time:" not in str(error)


ARM_ANSWERS = {
    "missing role": (
        _arm("AuthorizationFailed", "The client 'a' cannot do that.", 403),
        AccessError,
        "AzureML Data Scientist",
    ),
    "linked": (
        _arm("LinkedAuthorizationFailed", "No permission on the linked scope.", 403),
        AccessError,
        "linked resource",
    ),
    "inner code": (
        _arm("Forbidden", "No.", 403, innererror={"code": "ForbiddenByFirewall"}),
        AccessError,
        "firewall",
    ),
    "other tenant": (
        _arm("InvalidAuthenticationTokenTenant", "The access token is from the wrong issuer.", 401),
        AccessError,
        "tenantId",
    ),
    "expired": (_arm("ExpiredAuthenticationToken", "The token expired.", 401), AccessError, "clock"),
    "401 without a word": (Answer(401), AccessError, "Renew"),
    "no such workspace": (_arm("ResourceNotFound", "Workspace not found.", 404), RefusedError, "Create it"),
    "quota": (
        _arm("OperationNotAllowed", "It results in exceeding approved standardDSv2Family Cores quota.", 409),
        QuotaError,
        "Ask for more",
    ),
    "quota in details": (
        _arm("BadRequest", "No.", 400, details=[{"code": "ClusterMinNodesExceedCoreQuota", "message": "x"}]),
        QuotaError,
        "Ask for more",
    ),
    "no capacity": (_arm("AllocationFailed", "Not enough capacity.", 409), UnavailableError, "another region"),
    "no such size": (_arm("SkuNotAvailable", "Not in this location.", 409), QuotaError, "another region"),
    "throttled": (_arm("TooManyRequests", "Request rate exceeds the quota.", 429), UnavailableError, "try again"),
    "gateway": (Answer(502, "<html>bad gateway</html>"), UnavailableError, "try again"),
    "bad request": (_arm("InvalidPayload", "No such key.", 400), RefusedError, "docs/azure.md"),
    "as Livy says it": (Answer(400, '{"Message": "No such class."}'), RefusedError, "No such class"),
    "quota, as Livy says it": (
        Answer(400, '{"code": "MAXIMUM_WORKSPACE_CAPACITY_EXCEEDED", "message": "No."}'),
        QuotaError,
        "Ask for more",
    ),
    "quota deep inside": (
        _arm("UserError", "No.", 400, details=[{"code": "X", "innererror": {"code": "ClusterCoreQuotaReached"}}]),
        QuotaError,
        "Ask for more",
    ),
}


@pytest.mark.parametrize("case", ARM_ANSWERS)
def test_control_plane(server: Server, case: str) -> None:
    answer, kind, remedy = ARM_ANSWERS[case]
    server.answer = answer
    error = _raised(lambda: _ask_arm(server), Service.ML)
    assert type(error) is kind
    assert error.retryable is (kind is UnavailableError)
    assert remedy in str(error)
    assert str(answer.status) in str(error)


def test_role_is_that_of_the_service(server: Server) -> None:
    server.answer = _arm("Forbidden", "No.", 403)
    for service in Service:
        assert service.role in str(_raised(lambda: _ask_arm(server), service))


def test_connection_that_is_refused_or_lost_may_pass(server: Server) -> None:
    server.answer = Answer(0)
    assert type(_raised(lambda: _ask_storage(server))) is StorageUnavailableError
    ended = Server()
    ended.close()
    assert type(_raised(lambda: _ask_storage(ended))) is StorageUnavailableError
    assert type(_raised(lambda: _ask_arm(ended), Service.ML)) is UnavailableError
    assert _raised(lambda: _raise(ServiceResponseError("read timed out")), Service.SYNAPSE).retryable
    assert _raised(lambda: _raise(TimeoutError()), Service.SYNAPSE).retryable
    assert _raised(lambda: _raise(ConnectionResetError("reset by peer")), Service.SYNAPSE).retryable
    assert _raised(lambda: _raise(requests.exceptions.ChunkedEncodingError("broken off")), Service.ML).retryable
    assert _raised(lambda: _raise(aiohttp.ClientPayloadError("broken off")), Service.ML).retryable


def test_body_that_breaks_off_may_pass(server: Server) -> None:
    server.answer = Answer(200, "{}", {"Content-Type": "application/json", "Content-Length": "1000"})
    error = _raised(
        lambda: BlobServiceClient(server.url, retry_total=0).get_blob_client("a", "b").download_blob().readall()
    )
    assert type(error) is StorageUnavailableError


def test_unknown_host_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def no_answer(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, words)

    words = "Temporary failure in name resolution"
    server = Server()
    server.close()
    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    error = _raised(lambda: _ask_storage(server))
    assert not error.retryable
    assert "Mend the name" in str(error)
    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    assert _raised(lambda: _ask_storage(server)).retryable
    words = "Try again"  # musl's
    assert _raised(lambda: requests.get(server.url, timeout=1)).retryable


def test_what_adlfs_wraps_is_found(server: Server) -> None:
    lake = AzureBlobFileSystem(connection_string=_connection_string(server), skip_instance_cache=True, retry_total=0)
    server.answer = _storage("AuthorizationPermissionMismatch", "Not authorized.", 403)
    assert type(_raised(lambda: lake.cat_file("lake/a"))) is StorageAccessError
    assert type(_raised(lambda: lake.pipe_file("lake/a", b"x"))) is StorageAccessError
    assert type(_raised(lambda: lake.rm_file("lake/a"))) is StorageAccessError
    server.answer = _storage("ContainerNotFound", "The specified container does not exist.", 404)
    assert type(_raised(lambda: lake.cat_file("lake/a"))) is StorageError
    server.answer = _storage("BlobNotFound", "The specified blob does not exist.", 404)
    with pytest.raises(FileNotFoundError), explained("lake"):
        lake.cat_file("lake/a")


def test_identity_that_fails_is_told_from_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("IDENTITY_ENDPOINT", server.url)
    monkeypatch.setenv("IDENTITY_HEADER", "planted-header")
    server.answer = Answer(400, json.dumps({"statusCode": 400, "message": "No User Assigned Identity found"}))
    error = _raised(_ask_token)
    assert type(error) is StorageAccessError
    assert "No User Assigned Identity found" in str(error)
    server.answer = Answer(400, json.dumps({"statusCode": 500, "message": "Try again"}))
    assert type(_raised(_ask_token)) is StorageUnavailableError
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.delenv("IDENTITY_HEADER")
    error = _raised(_ask_token)
    assert type(error) is StorageAccessError
    assert "tried ManagedIdentityCredential" in str(error)
    assert "az login" in str(error)


def _ask_token() -> None:
    DefaultAzureCredential().get_token("https://storage.azure.com/.default")


def test_what_entra_id_says_of_a_service_principal() -> None:
    """Its answers are handed to the SDK as the transport would."""

    class Entra:
        """A transport that knows the tenant and no secret."""

        def __init__(self, description: str) -> None:
            self.description = description

        def send(self, request: Any, **_: object) -> Any:
            authority = request.url.split("/v2.0/")[0].split("/oauth2/")[0]
            if "openid-configuration" in request.url:
                body = {
                    "token_endpoint": f"{authority}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                    "issuer": f"{authority}/v2.0",
                }
                return _response(request, 200, body)
            return _response(request, 401, {"error": "invalid_client", "error_description": self.description})

        def open(self) -> None: ...
        def close(self) -> None: ...
        def __enter__(self) -> Entra:
            return self

        def __exit__(self, *_: object) -> None: ...

    for description, remedy in {
        "AADSTS7000215: Invalid client secret provided.": "Renew",
        "AADSTS7000222: The provided client secret keys are expired.": "Renew",
        "AADSTS700016: Application was not found in the directory.": "tenantId",
    }.items():
        credential = ClientSecretCredential(
            "11111111-1111-1111-1111-111111111111",
            "client",
            "planted-secret",
            transport=Entra(description),
            disable_instance_discovery=True,
        )
        error = _raised(lambda credential=credential: credential.get_token("https://storage.azure.com/.default"))
        assert type(error) is StorageAccessError
        assert remedy in str(error)
        assert "planted-secret" not in str(error)


def _response(request: Any, status: int, body: dict[str, Any]) -> Any:
    from requests import Response

    inner = Response()
    inner.status_code, inner._content = status, json.dumps(body).encode()
    inner.headers["Content-Type"] = "application/json"
    from azure.core.pipeline.transport import RequestsTransportResponse

    return RequestsTransportResponse(request, inner)


def test_sdk_of_azure_ml_judges_what_it_is_given() -> None:
    sdk_error = ValidationException(
        message="\x1b[31mNo such compute\x1b[0m\nVisit https://aka.ms/x",
        no_personal_data_message="",
        target=ErrorTarget.JOB,
        error_category=ErrorCategory.USER_ERROR,
    )
    error = _raised(lambda: _raise(sdk_error), Service.ML)
    assert type(error) is RefusedError
    assert "refused (No such compute)" in str(error)


def test_refusal_that_was_no_exception() -> None:
    resource, synapse = "Spark pool noria", Service.SYNAPSE
    full = "Your Spark job requested 480 vcores. However, the workspace has a 50 core limit."
    assert type(refused(resource, synapse, code="InvalidHttpRequestToLivy", message=full, status=400)) is QuotaError
    used = "AVAILABLE_COMPUTE_CAPACITY_EXCEEDED: the pool only has 8 vcores available out of quota of 12 vcores."
    assert type(refused(resource, synapse, message=used)) is UnavailableError
    assert "Synapse Compute Operator" in str(refused(resource, synapse, status=403))
    assert str(refused(resource, synapse)) == f"{resource}: refused. See docs/azure.md."


def test_certificate_that_is_not_trusted_is_final() -> None:
    said = "HTTPSConnectionPool: Max retries exceeded (SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED)"
    error = _raised(lambda: _raise(ServiceRequestError(said)), Service.ML)
    assert type(error) is RefusedError
    assert "REQUESTS_CA_BUNDLE" in str(error)


def test_tenant_that_there_is_not() -> None:
    said = "Unable to get authority configuration for https://login.microsoftonline.com/none."
    error = _raised(lambda: _raise(ValueError(said)), Service.ML)
    assert type(error) is AccessError
    assert "extra.tenantId" in str(error)


def test_what_is_not_azures_stays_as_it_is() -> None:
    for error in (FileNotFoundError("a"), FileExistsError("a"), ValueError("b"), KeyError("c"), InputError("d")):
        with pytest.raises(type(error)) as caught, explained("lake"):
            raise error
        assert caught.value is error


def test_a_mistake_of_ours_is_not_blamed_on_azure(server: Server) -> None:
    server.answer = _storage("AuthorizationPermissionMismatch", "Not authorized.", 403)
    with pytest.raises(KeyError), explained("lake"):
        try:
            _ask_storage(server)
        except Exception:
            dict[str, str]()["missing"]


PLANTED = {
    "signature": f"GET https://a.blob.core.windows.net/c?sv=2024&se=2030&sig={'c2ln' * 8}%3D failed",
    "signature alone": f"sig={'c2ln' * 8}%3D&sv=1",
    "connection string": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={ACCOUNT_KEY};EndpointSuffix=x",
    "account key": f"the key {ACCOUNT_KEY} is wrong",
    "token": f"token {TOKEN} is wrong",
    "header": f"Authorization: Bearer {TOKEN}",
    "opaque header": "Authorization: Bearer c2ln-c2ln",
    "client secret": "POST client_id=a&client_secret=c2lnc2ln~x&scope=b",
    "json": '{"client_secret": "c2lnc2ln", "access_token": "c2lnc2ln"}',
    "url": "https://user:c2lnc2ln@host/path",
}


@pytest.mark.parametrize("case", PLANTED)
def test_secrets_are_cut_out(server: Server, case: str) -> None:
    secrets = ("c2ln", ACCOUNT_KEY, TOKEN)
    server.answer = _arm("InvalidPayload", PLANTED[case], 400)
    for error in (_raised(lambda: _ask_arm(server), Service.ML), refused(PLANTED[case], message=PLANTED[case])):
        assert not [secret for secret in secrets if secret in str(error)], str(error)
        assert "***" in str(error)


def test_words_that_only_sound_secret_stay() -> None:
    text = "No permission on secret noria-db; set the password in Key Vault (token of AAD), see https://aka.ms/x?view=1"
    assert text in str(refused("vault", Service.VAULT, message=text))


def test_async_code_is_explained_too(server: Server) -> None:
    server.answer = _storage("AuthorizationPermissionMismatch", "Not authorized.", 403)

    async def ask() -> None:
        async with AsyncBlobServiceClient.from_connection_string(_connection_string(server), retry_total=0) as client:
            await client.get_container_client("lake").get_container_properties()

    assert type(_raised(lambda: asyncio.run(ask()))) is StorageAccessError


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("secret", [ACCOUNT_KEY, TOKEN, f"sig={ACCOUNT_KEY}"])
def test_a_secret_where_the_sentence_is_cut_is_not_half_kept(secret: str) -> None:
    for before in range(600 - len(secret), 600, 7):
        message = f"{'x' * before} {secret} {'y' * 600}"
        error = _raised(lambda message=message: _raise(ServiceRequestError(message)))
        assert secret[4:12] not in str(error)
