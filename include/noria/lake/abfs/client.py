"""The connection to a storage account: adlfs over one blob client of ours, which retries as a lake needs it.

The client that adlfs makes neither waits as `Retry-After` says nor tries again when it is throttled (429), and the
first of its three waits lasts 15 s. So it is given one, and what is asked without adlfs shares its token and
connections.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import random
import time
from typing import TYPE_CHECKING, Any

from noria.azure import LAKE, AzureConnection
from noria.errors import InputError
from noria.lake.abfs.url import AbfsUrl

if TYPE_CHECKING:
    from adlfs import AzureBlobFileSystem
    from azure.core.credentials import TokenCredential
    from azure.storage.blob.aio import BlobServiceClient

BLOCK_BYTES = 8 * 2**20
"""Size of what is sent and fetched at once; a blob has at most 50,000 blocks, so files up to 390 GiB."""
CONCURRENCY = 4
"""Blocks on their way at once, for each file."""
RETRY_SECONDS = 120.0
"""How long one request is tried again."""
READ_SECONDS = 60.0
"""Silence after which an answer counts as lost."""
_CONNECT_RETRIES = 5
_LONGEST_WAIT_SECONDS = 8.0


def file_system(place: AbfsUrl, connection: AzureConnection | None) -> AzureBlobFileSystem:
    """adlfs for one account; the same one for all lakes of this process, since adlfs never gives a connection back.

    Raises:
        InputError: The connection is for another account, or cannot be used.
    """
    return shared(os.getpid(), place.account, place.blob_host, connection)


@functools.cache
def shared(_process_id: int, account: str, blob_host: str, connection: AzureConnection | None) -> AzureBlobFileSystem:
    """`file_system`, remembered; a process that was forked needs its own."""
    from adlfs import AzureBlobFileSystem
    from azure.core.exceptions import AzureError

    for noisy in ("azure.core.pipeline.policies.http_logging_policy", "azure.identity"):  # they tell every request
        if logging.getLogger(noisy).level == logging.NOTSET:
            logging.getLogger(noisy).setLevel(logging.WARNING)
    client = _client(account, blob_host, connection)

    class FileSystem(AzureBlobFileSystem):  # type: ignore[misc]  # its class is Any here
        def do_connect(self) -> None:
            self.service_client = client

    def keep_quiet(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Where several blocks fail the SDK raises the first one's error; asyncio would print all others as lost.
        if not isinstance(context.get("exception"), AzureError):
            loop.default_exception_handler(context)

    files = FileSystem(
        account_name=account,
        anon=True,  # no identity of its own: the client has one
        max_concurrency=CONCURRENCY,
        skip_instance_cache=True,
        use_listings_cache=False,
    )
    files.loop.call_soon_threadsafe(files.loop.set_exception_handler, keep_quiet)
    return files


def _client(account: str, blob_host: str, connection: AzureConnection | None) -> BlobServiceClient:
    from azure.storage.blob.aio import BlobServiceClient

    options: dict[str, Any] = {
        "retry_policy": _retry_policy(),
        "read_timeout": READ_SECONDS,
        "max_single_put_size": BLOCK_BYTES,
        "max_block_size": BLOCK_BYTES,
        "min_large_block_upload_threshold": BLOCK_BYTES + 1,  # blocks are read, not streamed: each can be sent again
        "max_single_get_size": BLOCK_BYTES,
        "max_chunk_get_size": BLOCK_BYTES,
    }
    connection = connection or AzureConnection(LAKE)
    if text := connection.get("connection_string"):
        try:
            client = BlobServiceClient.from_connection_string(text, **options)
        except ValueError:  # its message may hold the key
            raise InputError(
                f"the connection_string of the connection {connection.conn_id} cannot be read",
                expected="AccountName=…;AccountKey=…;BlobEndpoint=… as the Azure portal shows it",
            ) from None
        _check_account(connection, "connection_string", client.account_name, account)
        return client
    _check_identity(connection)
    host = connection.get("account_host") or blob_host
    _check_account(connection, "account_host", host.partition(".")[0], account)
    return BlobServiceClient(f"https://{host}", credential=AsyncCredential(connection.credential()), **options)


def _check_identity(connection: AzureConnection) -> None:
    """A key that the connection's type can hold must not be passed over in favour of whoever this machine is."""
    keys = [f"extra.{key}" for key in ("account_key", "sas_token") if connection.get(key)]
    keys += ["a password without a login"] if connection.password and not connection.login else []
    if keys:
        raise InputError(
            f"the connection {connection.conn_id} has {' and '.join(keys)}, which is not used",
            expected="an identity of Entra ID: login, password and extra.tenantId of a service principal, or none of "
            "them for a managed identity; where it must be a key, extra.connection_string",
            remedy="See docs/azure.md.",
        )


def _check_account(connection: AzureConnection, key: str, found: str, account: str) -> None:
    """The lake's URL says where the lake is; a connection for another account must not quietly take it elsewhere."""
    if found != account:
        raise InputError(
            f"the {key} of the connection {connection.conn_id} is for account {found!r}",
            expected=f"account {account!r}, as in the lake's URL",
            remedy="Mend the connection or NORIA_LAKE_URL.",
        )


class AsyncCredential:
    """A credential for the asynchronous client; the network is asked in a thread."""

    def __init__(self, credential: TokenCredential) -> None:
        self._credential = credential

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """Like the credential's own."""
        return await asyncio.to_thread(self._credential.get_token, *scopes, **options)


def _retry_policy() -> object:
    """azure.core's policy, for storage: 408, 429 and 5xx, lost connections and answers, for RETRY_SECONDS at most.

    The storage package's own policy tries three times and not after 429.
    """
    from azure.core.pipeline.policies import AsyncRetryPolicy

    class Retry(AsyncRetryPolicy):  # type: ignore[misc]  # its class is Any here
        async def send(self, request: Any) -> Any:
            # The storage package's own policy takes these options, and leaves what is read where blobs are listed.
            for option in ("hosts", "location_mode", "retry_to_secondary"):
                request.context.options.pop(option, None)
            response = await super().send(request)
            response.http_response.location_mode = "primary"
            return response

        def configure_retries(self, options: dict[str, Any]) -> dict[str, Any]:
            return {**super().configure_retries(options), "end": time.monotonic() + RETRY_SECONDS}

        def is_exhausted(self, settings: dict[str, Any]) -> bool:
            return time.monotonic() > settings["end"] or bool(super().is_exhausted(settings))

        def get_backoff_time(self, settings: dict[str, Any]) -> float:
            return float(super().get_backoff_time(settings)) * random.uniform(0.75, 1.25)  # noqa: S311

        def get_retry_after(self, response: Any) -> float:
            return min(super().get_retry_after(response) or 0.0, RETRY_SECONDS / 4)

    return Retry(
        retry_total=1000,
        retry_status=1000,
        retry_read=1000,
        retry_connect=_CONNECT_RETRIES,
        retry_backoff_factor=0.25,
        retry_backoff_max=_LONGEST_WAIT_SECONDS,
    )
