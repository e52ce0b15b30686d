"""Where a pipeline's data comes from, as it stands under `source:` and as a URI."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from noria.errors import InputError
from noria.pipeline.base import Model

FORMS = "github://owner/repo/path@ref, https://…, file:///…, a file's path, or sample://students?rows=1000&seed=7"
_SECRET_WORDS = {"sig", "signature", "credential", "token", "secret", "password", "key", "apikey", "code"}
"""Last words of parameters that open a door by themselves, such as X-Amz-Signature or access_token."""
KEPT_CONNECTION = "noria_verdicts"
"""Holds the key that signs verdicts; whoever is sent it can promote."""


def _not_kept(connection: str) -> str:
    if connection.lower() == KEPT_CONNECTION:  # environment variables know no case
        raise ValueError(
            f"{connection!r} holds the key that signs verdicts; it is sent nowhere. Name another connection"
        )
    return connection


Connection = Annotated[str, AfterValidator(_not_kept)]


class SampleSource(Model):
    """Noria's own seeded generator; needs no network."""

    kind: Literal["sample"] = "sample"
    generator: Literal["students"] = "students"
    rows: int = Field(1000, ge=1, le=100_000_000)
    seed: int = Field(7, ge=0)

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return f"sample://{self.generator}?rows={self.rows}&seed={self.seed}"


class FileSource(Model):
    """A file on this machine; relative paths start at the working directory."""

    kind: Literal["file"]
    path: str = Field(min_length=1)

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return Path(self.path).expanduser().resolve().as_uri()


class HttpsSource(Model):
    """A file behind a URL. Plain http is accepted for loopback addresses only."""

    kind: Literal["https"]
    url: str = Field(pattern=r"^https?://[^/\s]+/?.*$")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    connection: Connection | None = Field(
        None, description="Airflow connection whose password is sent as a bearer token."
    )

    @model_validator(mode="after")
    def _no_secret_no_plain_http(self) -> HttpsSource:
        parts = urllib.parse.urlsplit(self.url)
        if parts.username or parts.password:
            raise ValueError("the URL carries a user or password; put it in an Airflow connection instead")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("plain http is accepted for loopback addresses only; use https")
        for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True):
            if re.split(r"[-_]", name.lower())[-1] in _SECRET_WORDS:
                raise ValueError(
                    f"the URL carries a secret in its parameter {name!r}; put it in an Airflow connection instead"
                )
        return self

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return self.url


class GithubSource(Model):
    """A file in a GitHub repository, fetched raw over https."""

    kind: Literal["github"]
    owner: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    repo: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    path: str = Field(min_length=1)
    ref: str = Field("main", min_length=1)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    connection: Connection = Field(
        "github_default", description="Airflow connection whose password is the token, if any."
    )

    @field_validator("path", "ref")
    @classmethod
    def _no_way_out(cls, value: str) -> str:
        if value.startswith("/") or value.endswith("/") or {"", ".", ".."} & set(value.split("/")):
            raise ValueError(f"{value!r} is not relative to the repository; expected names divided by single slashes")
        return value

    @property
    def uri(self) -> str:
        """The source as a URI, as `--source` takes it."""
        return f"github://{self.owner}/{self.repo}/{urllib.parse.quote(self.path)}@{urllib.parse.quote(self.ref)}"


Source = Annotated[SampleSource | FileSource | HttpsSource | GithubSource, Field(discriminator="kind")]


def source_from_uri(uri: str) -> dict[str, Any]:
    """Turn `--source` into the mapping that stands under `source:` in a spec.

    In a github URI the last `@` divides path and ref. Both may contain slashes; `%40` stands for an `@` of the path.

    Raises:
        InputError: The URI has an unknown scheme or lacks a part.
    """
    scheme, separator, rest = uri.strip().partition("://")
    match scheme.lower() if separator else "":
        case "github":
            return _github(uri, rest)
        case "https" | "http":
            return {"kind": "https", "url": uri.strip()}
        case "file":
            return _file(uri, rest)
        case "sample":
            parts = urllib.parse.urlsplit(uri)
            query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
            return {"kind": "sample", "generator": parts.netloc or "students", **query}
        case "" if uri.strip():
            return {"kind": "file", "path": uri.strip()}
        case _:
            raise InputError(f"source {hide_credentials(uri)!r}", expected=FORMS)


def _github(uri: str, rest: str) -> dict[str, Any]:
    owner, _, tail = rest.partition("/")
    repo, _, tail = tail.partition("/")
    path, _at, ref = tail.rpartition("@") if "@" in tail else (tail, "", "main")
    if not (owner and repo and path and ref):
        missing = {"owner": owner, "repo": repo, "path": path, "ref after the @": ref}
        lacking = ", ".join(name for name, part in missing.items() if not part)
        raise InputError(f"source {hide_credentials(uri)!r} lacks {lacking}", expected="github://owner/repo/path@ref")
    unquote = urllib.parse.unquote
    return {"kind": "github", "owner": owner, "repo": repo, "path": unquote(path), "ref": unquote(ref)}


def _file(uri: str, rest: str) -> dict[str, Any]:
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not (slash and path):
        raise InputError(
            f"source {hide_credentials(uri)!r}", expected="file:///absolute/path with three slashes, or a plain path"
        )
    return {"kind": "file", "path": urllib.parse.unquote(f"/{path}")}


def hide_credentials(text: str) -> str:
    """The text with user and password of a URL in it blotted out; the container of a lake's URL is neither."""
    return re.sub(r"(?<!\babfs:)(?<!\babfss:)//[^/@\s]+@|//[^/@:\s]*:[^/@\s]*@", "//***@", text)
