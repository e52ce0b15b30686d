"""A lock as a lease on a blob: renewed while it is held, and over by itself soon after its holder was killed."""

from __future__ import annotations

import asyncio
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
"""How long after a renewal the next one is due."""
ANSWER_SECONDS = 5.0
"""Silence after which the answer to a renewal counts as lost; others wait longer, and would lose the lease with it."""
RENEWAL_SECONDS = 8.0
"""How long one renewal is tried again, whatever the service asks to wait: two that fail fit between `RENEW_SECONDS` and
the end of the lease."""
_MARGIN_SECONDS, _PAUSE_SECONDS = 2.0, 1.0
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
        self._sure_until = 0.0

    def acquire(self, wait_seconds: float) -> bool:
        """Wait for it; whether it is held now."""
        end, pause = time.monotonic() + wait_seconds, _POLL_SECONDS
        while not (self._ask(self._try) and (self.is_sure or self.held())):
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
                self._ask(self._release)

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can have it yet, by this machine's clock and the last renewal that is known of."""
        return time.monotonic() < self._sure_until

    def held(self, patience_seconds: float | None = None) -> bool:
        """Renew it; whether nobody else has had it since it was acquired, for as long as that is so it can be renewed.

        Raises:
            TimeoutError: There is no answer for `patience_seconds`, or RENEWAL_SECONDS.
        """
        from azure.core.exceptions import HttpResponseError

        try:
            self._ask(self._renew, patience_seconds or RENEWAL_SECONDS)
        except HttpResponseError as error:
            if error.status_code not in (404, 409, 412):
                raise
            self._sure_until = 0.0
            return False
        return True

    def _keep(self, over: threading.Event) -> None:
        pause, warned = RENEW_SECONDS, False
        while not over.wait(pause):
            try:
                if not self.held():
                    log.warning("the lease on %s is lost", self._blob.blob_name)
                    return
                pause, warned = RENEW_SECONDS, False
            except Exception as error:  # the next renewal, or the last one, tells
                pause = min(_PAUSE_SECONDS, RENEW_SECONDS)
                log.warning("the lease on %s was not renewed: %s", self._blob.blob_name, type(error).__name__)
            if not (self.is_sure or warned):
                warned = True
                log.warning("the lease on %s may be somebody else's by now", self._blob.blob_name)

    async def _renew(self, patience_seconds: float) -> None:
        begun = time.monotonic()
        await asyncio.wait_for(self._lease.renew(read_timeout=ANSWER_SECONDS), patience_seconds)
        self._sure(begun)

    async def _release(self) -> None:
        await asyncio.wait_for(self._lease.release(), RENEWAL_SECONDS)

    def _sure(self, begun: float) -> None:
        """The service counts from when it did what was asked, which was after `begun`."""
        self._sure_until = begun + LEASE_SECONDS - _MARGIN_SECONDS

    async def _try(self) -> bool:
        from azure.core.exceptions import HttpResponseError, ResourceExistsError

        begun = time.monotonic()
        with contextlib.suppress(ResourceExistsError):
            try:
                await self._lease.acquire(lease_duration=LEASE_SECONDS)
                self._sure(begun)
                return True
            except HttpResponseError as error:
                if error.error_code == "LeaseAlreadyPresent":
                    return False
                if error.error_code != "BlobNotFound":
                    raise
            await self._blob.upload_blob(b"", overwrite=False)
        return await self._try()
