"""The offline twin as a fixture: one for each test process, clean for each test."""

from __future__ import annotations

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
    for name, value in twin_process.environment.items():
        monkeypatch.setenv(name, value)
    _trust(twin_process.environment["SSL_CERT_FILE"])
    twin_process.reset()
    twin_process.refused()
    twin_process.wrong_bodies()
    guard.install(str(twin_process.guard_file))
    try:
        yield twin_process
    finally:
        guard.uninstall()
    refused = twin_process.refused()
    assert not refused, "left loopback:\n" + "\n".join(refused)
    wrong = twin_process.wrong_bodies()
    assert not wrong, "bodies that do not fit Azure's models:\n" + "\n".join(wrong)


def _trust(bundle: str) -> None:
    """Let aiohttp trust the twin: it makes its context when it is imported, which may have been earlier."""
    if "aiohttp" in sys.modules:
        context: ssl.SSLContext = sys.modules["aiohttp.connector"]._SSL_CONTEXT_VERIFIED
        context.load_verify_locations(bundle)
