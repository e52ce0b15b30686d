"""The GitHub source against a stand-in of its raw and API endpoints."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from noria.errors import SourceError, SourceNotFoundError
from noria.pipeline import GithubSource
from noria.settings import Settings
from noria.sources import Retry, open_source
from tests.support.github import Github, github

RETRY = Retry(attempts=2, sleep=lambda _seconds: None)
SPEC = GithubSource(kind="github", owner="octo", repo="data", path="in/pupils 1.csv")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Github]:
    file = tmp_path / "hub" / "octo" / "data" / "in" / "pupils 1.csv"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a,b\n1,2\n")
    with github(tmp_path / "hub") as hub:
        yield hub


def settings(hub: Github, tmp_path: Path) -> Settings:
    return Settings.from_env({"NORIA_GITHUB_RAW_URL": hub.url + "/", "NORIA_GITHUB_API_URL": hub.url}, home=tmp_path)


def test_bytes_come_from_the_commit_that_the_ref_stands_for(hub: Github, tmp_path: Path) -> None:
    fetched = open_source(SPEC, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"a,b\n1,2\n"
    assert fetched.commit == hub.commit("octo", "data")
    assert [path for path, _ in hub.requests] == [
        "/repos/octo/data/commits/main",
        f"/octo/data/{fetched.commit}/in/pupils%201.csv",
    ]
    again = open_source(SPEC, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x", fetched.etag)
    assert not again.modified
    assert again.commit == fetched.commit


@pytest.mark.parametrize("status", [403, 500])
def test_an_api_that_does_not_answer_costs_only_the_commit(
    hub: Github, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    hub.api_status = status
    fetched = open_source(SPEC, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")
    assert fetched.bytes == 8
    assert fetched.commit is None
    assert "the commit of main is not known" in caplog.text


def test_bytes_that_came_by_the_name_of_a_branch_claim_no_commit(hub: Github, tmp_path: Path) -> None:
    hub.raw_refs = ("main",)
    fetched = open_source(SPEC, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"a,b\n1,2\n"
    assert fetched.commit is None


def test_nothing_there_names_what_to_check(hub: Github, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"path": "none.csv"})
    with pytest.raises(SourceNotFoundError, match=r"none\.csv: HTTP 404.*owner, repo, path and ref.*github_default"):
        open_source(spec, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")
    spec = SPEC.model_copy(update={"ref": "nowhere"})
    with pytest.raises(SourceError, match="/octo/data/nowhere/"):
        open_source(spec, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")


def test_a_private_repository_opens_to_its_token(hub: Github, tmp_path: Path) -> None:
    hub.token = "s3cret"
    with pytest.raises(SourceError, match="'github_default', which has none"):
        open_source(SPEC, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")
    fetched = open_source(SPEC, settings(hub, tmp_path), "s3cret", RETRY).fetch(tmp_path / "x")
    assert fetched.commit


def test_a_declared_sha256_is_checked(hub: Github, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(SourceError, match="sha256 is"):
        open_source(spec, settings(hub, tmp_path), None, RETRY).fetch(tmp_path / "x")
