"""The offline twin as a fixture: one for each test process, clean for each test."""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import Iterator

import pytest

from tests.azure.twin import azurite
from tests.azure.twin.client import Twin
from tests.azure.twin.guard import sitecustomize as guard


@pytest.fixture(scope="session")
def twin_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The twin itself; tests use `twin`."""
    if problem := azurite.missing():
        pytest.skip(problem)
    with Twin.start(tmp_path_factory.mktemp("twin")) as twin:
        yield twin


@pytest.fixture
def twin(twin_process: Twin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    """The twin, with its environment in os.environ and its guard in this process.

    A test fails if anything wanted to leave loopback or sent what does not fit Azure's own models, also if that was
    caught.
    """
    with living_on(twin_process, monkeypatch):
        yield twin_process


@contextlib.contextmanager
def living_on(twin: Twin, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `twin` promises, for the length of a context; for fixtures of a whole module."""
    for name, value in twin.environment.items():
        patch.setenv(name, value)
    _trust(twin.environment["SSL_CERT_FILE"])
    twin.reset()
    twin.refused()
    twin.wrong_bodies()
    guard.install(str(twin.guard_file))
    try:
        yield
    finally:
        guard.uninstall()
    refused = twin.refused()
    assert not refused, "left loopback:\n" + "\n".join(refused)
    wrong = twin.wrong_bodies()
    assert not wrong, "bodies that do not fit Azure's models:\n" + "\n".join(wrong)


def _trust(bundle: str) -> None:
    """Let aiohttp trust the twin: it makes its context when it is imported, which may have been earlier."""
    if "aiohttp" in sys.modules:
        context: ssl.SSLContext = sys.modules["aiohttp.connector"]._SSL_CONTEXT_VERIFIED
        context.load_verify_locations(bundle)
