"""The offline twin as a fixture: one for each test process, clean for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.azure.live import Live
from tests.azure.twin import azurite
from tests.azure.twin.client import Twin
from tests.azure.twin.guard import sitecustomize as guard
from tests.support.needs import lacking


@pytest.fixture(scope="session")
def twin_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The twin itself; tests use `twin`."""
    need_azurite()
    with Twin.start(tmp_path_factory.mktemp("twin")) as twin:
        yield twin


def need_azurite() -> None:
    """End the test here where there is no Azurite."""
    if problem := azurite.missing():
        lacking(problem)


@pytest.fixture
def twin(twin_process: Twin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    """The twin, with its environment in os.environ and its guard in this process.

    A test fails if anything wanted to leave loopback or sent what does not fit Azure's own models, also if that was
    caught.
    """
    with living_on(twin_process, monkeypatch):
        yield twin_process


@contextlib.contextmanager
def living_on(twin: Twin | Live, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `twin` promises, for the length of a context; for fixtures of a whole module."""
    if isinstance(twin, Live):
        with twin.living(patch):
            yield
        return
    from aiohttp import connector  # before the environment is the twin's: it makes its context when it is imported

    for name, value in twin.environment.items():
        patch.setenv(name, value)
    patch.setattr(connector, "_SSL_CONTEXT_VERIFIED", connector._make_ssl_context(True))
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
