"""What Azure's services refuse, as errors that name the resource, the missing role or the full quota, and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from noria.errors import StorageError, StorageUnavailableError


@contextlib.contextmanager
def explained(resource: str) -> Iterator[None]:
    """Turn what the Azure SDKs raise into our errors.

    Args:
        resource: What was asked, as a person names it: "storage account noria, container lake".

    Raises:
        StorageUnavailableError: It may pass: throttled (429), 5xx, no connection, time-out.
        StorageError: It will not.
    """
    from azure.core.exceptions import AzureError, HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        status = error.status_code or 0
        kind = StorageUnavailableError if status in (408, 429) or status >= 500 else StorageError
        raise kind(f"{resource} refused: {error.message}") from None
    except AzureError as error:
        raise StorageUnavailableError(f"{resource} did not answer: {error.message}") from None
