"""What the blob service is asked without adlfs, through the same client.

adlfs' `exists` and `isfile` take a folder for a file, or a refusal for "no"; its `find` takes a container that is gone
for an empty one; its `rm` sends all deletions at once; it writes no metadata but its own, and has no leases.

With a hierarchical namespace a folder is a blob of no bytes with the metadata `hdi_isfolder`: it is no file.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, ContainerClient

_WRITER = "noria_writer"
_DELETES_AT_ONCE = 16


class Blobs:
    """Blobs of one container, by name."""

    def __init__(self, container: ContainerClient) -> None:
        self._container = container

    def client(self, name: str) -> BlobClient:
        """The SDK's client of one blob."""
        return self._container.get_blob_client(name)

    async def is_file(self, name: str) -> bool:
        """Whether a file, and no folder, stands there."""
        from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError

        if not name:
            return False
        try:
            return not _is_folder(await self.client(name).get_blob_properties())
        except ClientAuthenticationError:
            await self.client(name).download_blob()  # refused too, but with words: an answer to HEAD has none
            raise
        except ResourceNotFoundError as error:
            if error.error_code != "BlobNotFound":  # the container, for one
                raise
            return False

    async def now(self) -> datetime:
        """The service's time, which every answer of it bears."""
        dates: list[str] = []
        await self._container.get_container_properties(
            raw_response_hook=lambda answer: dates.append(answer.http_response.headers["Date"])
        )
        return parsedate_to_datetime(dates[-1]).astimezone(UTC)

    async def create(self, name: str, data: bytes) -> bool:
        """Write only if nothing stands there; whether this call has written.

        Where the answer to a first attempt is lost, the second meets the first one's work: it is known by its writer.
        """
        from azure.core.exceptions import ResourceExistsError

        blob, writer = self.client(name), uuid.uuid4().hex
        try:
            await blob.upload_blob(data, overwrite=False, metadata={_WRITER: writer})
        except ResourceExistsError as error:
            if error.error_code != "BlobAlreadyExists":
                raise
            found = await blob.get_blob_properties()
            return bool(found.metadata.get(_WRITER) == writer)
        return True

    async def below(self, name: str) -> tuple[dict[str, int], list[str]]:
        """Files, with their sizes in bytes, and folders below a folder."""
        files: dict[str, int] = {}
        folders: list[str] = []
        prefix = f"{name}/" if name else ""
        async for blob in self._container.list_blobs(name_starts_with=prefix, include=["metadata"]):
            if _is_folder(blob):
                folders.append(blob.name)
            else:
                files[blob.name] = blob.size
        return files, folders

    async def remove(self, name: str) -> None:
        """Delete a file, or a folder with all in it."""
        files, folders = await self.below(name)
        await self._delete(files)
        for folder in sorted(folders, reverse=True):  # the inner ones first, since none may hold anything
            await self._delete([folder])
        if name:
            await self._delete([name])

    async def _delete(self, names: Iterable[str]) -> None:
        from azure.core.exceptions import ResourceNotFoundError

        turn = asyncio.Semaphore(_DELETES_AT_ONCE)

        async def delete(name: str) -> None:
            async with turn:
                try:
                    await self.client(name).delete_blob()
                except ResourceNotFoundError as error:
                    if error.error_code != "BlobNotFound":
                        raise

        await asyncio.gather(*(delete(name) for name in names))


def _is_folder(blob: Any) -> bool:
    metadata = {key.lower(): value for key, value in (blob.metadata or {}).items()}
    return metadata.get("hdi_isfolder") == "true"
