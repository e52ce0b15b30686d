"""Where a lake on ADLS Gen2 is: `abfss://CONTAINER@ACCOUNT_HOST[:PORT][/FOLDER]`."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from noria.errors import InputError

_EXPECTED = "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net[/FOLDER]"
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")  # 3 to 63 characters: "Naming and referencing containers"


@dataclass(frozen=True)
class AbfsUrl:
    """The parts of a lake's URL; it holds no secret.

    Attributes:
        scheme: `abfs` or `abfss`; what connects here speaks TLS for both, Spark for the second alone.
        container: The container (file system).
        host: Host of the account, with its port if there is one.
        folder: Folder below the container, without slashes at its ends; empty for the container itself.
    """

    scheme: str
    container: str
    host: str
    folder: str = ""

    @classmethod
    def parse(cls, url: str) -> AbfsUrl:
        """Read a URL.

        Raises:
            InputError: A part is missing or wrong, or there is a password or a signature in it (which is not shown).
        """
        try:
            parts = urllib.parse.urlsplit(url)
            _ = parts.port  # raises where it is no number
        except ValueError as error:
            raise InputError(f"the lake's URL cannot be read: {error}", expected=_EXPECTED) from None
        container, _, host = parts.netloc.rpartition("@")
        if parts.query or parts.fragment or ":" in container:
            raise InputError(
                f"the lake's URL {parts.scheme}://{container.partition(':')[0]}@{host} goes on with a password, a "
                "query or a fragment",
                expected=_EXPECTED,
                remedy="Credentials belong in the Airflow connection adls_default.",
            )
        if not container or "." not in host:
            raise InputError(f"lake {url!r}", expected=_EXPECTED, remedy="The account's host follows the container.")
        if not _CONTAINER.fullmatch(container):
            raise InputError(
                f"container {container!r} of lake {url!r}",
                expected="3 to 63 small letters, digits and single hyphens",
            )
        return cls(parts.scheme, container, host, _folder(url, parts.path))

    @property
    def account(self) -> str:
        """Name of the storage account."""
        return self.host.partition(".")[0]

    @property
    def blob_host(self) -> str:
        """Host of the account's blob endpoint, which does all that this lake needs and that emulators have."""
        return self.host.replace(".dfs.", ".blob.", 1)

    def __str__(self) -> str:
        base = f"{self.scheme}://{self.container}@{self.host}"
        return f"{base}/{self.folder}" if self.folder else base


def _folder(url: str, path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if "." in parts or ".." in parts:
        raise InputError(f"lake {url!r}", expected="a folder without '.' and '..'")
    return "/".join(parts)
