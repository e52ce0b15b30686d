"""A file in a GitHub repository: the commit from the API, the bytes raw over https."""

from __future__ import annotations

import dataclasses
import logging
import re
import urllib.parse
from pathlib import Path

import httpx
from typing_extensions import override

from noria import pipeline
from noria.errors import NoriaError, SourceNotFoundError
from noria.sources.base import Fetched, Source
from noria.sources.download import Request, download, open_client
from noria.sources.retry import Retry

log = logging.getLogger(__name__)


class GithubSource(Source):
    """owner/repo/path at a ref. When the API answers, the bytes are taken at the commit the ref stands for."""

    def __init__(
        self, spec: pipeline.GithubSource, raw_url: str, api_url: str, token: str | None, retry: Retry
    ) -> None:
        self._spec, self._raw_url, self._api_url = spec, raw_url, api_url
        self._token, self._retry = token, retry

    @override
    def fetch(self, target: Path, etag: str | None = None) -> Fetched:
        commit = self._resolve()
        if commit:
            try:
                fetched = self._download(commit, target, etag)
            except SourceNotFoundError as error:  # a mirror may know branches and tags only
                if commit == self._spec.ref:
                    raise
                log.warning("not found at commit %s, next by its name %s: %s", commit, self._spec.ref, error)
            else:
                return dataclasses.replace(fetched, commit=commit)
        return self._download(self._spec.ref, target, etag)  # the name may stand for another commit by now

    def _download(self, ref: str, target: Path, etag: str | None) -> Fetched:
        spec = self._spec
        path = "/".join(urllib.parse.quote(part, safe="") for part in (*ref.split("/"), *spec.path.split("/")))
        hint = (
            f"Check owner, repo, path and ref; a private repository needs a token as the password of "
            f"connection {spec.connection!r}{'' if self._token else ', which has none'}."
        )
        url = f"{self._raw_url}/{spec.owner}/{spec.repo}/{path}"
        return download(Request(url, self._token, etag, spec.sha256, hint), target, self._retry)

    def _resolve(self) -> str | None:
        """The commit, or none: the data are worth having without it."""
        spec = self._spec
        ref = urllib.parse.quote(spec.ref, safe="")
        url = f"{self._api_url}/repos/{spec.owner}/{spec.repo}/commits/{ref}"
        try:
            with open_client(self._retry, url, self._token) as client:
                response = client.get(url, headers={"Accept": "application/vnd.github+json"})
                response.raise_for_status()
                commit = str(response.json()["sha"])
        except (httpx.HTTPError, NoriaError, ValueError, KeyError, TypeError) as error:
            log.warning("the commit of %s is not known: %s", spec.ref, error)
            return None
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
            log.warning("the commit of %s is not known: %s answered something else", spec.ref, url)
            return None
        return commit
