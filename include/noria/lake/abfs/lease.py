"""A lock as a lease on a blob: renewed while it is held, and over by itself soon after its holder was killed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobLeaseClient

log = logging.getLogger(__name__)
LEASE_SECONDS = 30
"""How long a lease outlives its holder; Azure allows 15 to 60."""
RENEW_SECONDS = 10.0
_POLL_SECONDS, _LONGEST_POLL_SECONDS = 0.1, 1.0


class Lease:
    """One attempt to hold a blob.

    Args:
        blob: The blob; it is made if it is not there.
        ask: Runs a coroutine function to its end.
    """

    def __init__(self, blob: BlobClient, ask: Callable[..., Any]) -> None:
        from azure.storage.blob.aio import BlobLeaseClient

        self._blob, self._ask = blob, ask
        # It proposes an id of its own, so an acquisition whose answer was lost is repeated, not refused.
        self._lease: BlobLeaseClient = BlobLeaseClient(blob)

    def acquire(self, wait_seconds: float) -> bool:
        """Wait for it; whether it is held now."""
        end, pause = time.monotonic() + wait_seconds, _POLL_SECONDS
        while not self._ask(self._try):
            if time.monotonic() + pause > end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
        return True

    @contextlib.contextmanager
    def renewed(self) -> Iterator[None]:
        """Keep it while the context lasts, then give it back."""
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(over,), name="noria-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            with contextlib.suppress(Exception):  # then it ends by itself
                self._ask(self._lease.release)

    def held(self) -> bool:
        """Whether nobody else has had it since it was acquired; a lease can be renewed as long as that is so."""
        from azure.core.exceptions import HttpResponseError

        try:
            self._ask(self._lease.renew)
        except HttpResponseError as error:
            if error.status_code not in (404, 409, 412):
                raise
            return False
        return True

    def _keep(self, over: threading.Event) -> None:
        while not over.wait(RENEW_SECONDS):
            try:
                if not self.held():
                    log.warning("the lease on %s is lost", self._blob.blob_name)
                    return
            except Exception as error:  # the next renewal, or the last one, tells
                log.warning("the lease on %s was not renewed: %s", self._blob.blob_name, type(error).__name__)

    async def _try(self) -> bool:
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        with contextlib.suppress(ResourceExistsError):
            try:
                await self._lease.acquire(lease_duration=LEASE_SECONDS)
                return True
            except HttpResponseError as error:
                if error.error_code == "LeaseAlreadyPresent":
                    return False
                if error.error_code != "BlobNotFound":
                    raise
            await self._blob.upload_blob(b"", overwrite=False)
        return await self._try()
