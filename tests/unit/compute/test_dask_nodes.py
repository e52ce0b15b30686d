"""A scheduler and workers around a command: what ends with what."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from noria.compute.dask_nodes import DaskNode
from noria.errors import InputError, JobError
from noria.settings import Node, Settings

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> DaskNode:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return DaskNode(Node(rank=0, count=1, first="127.0.0.1", port=port), 1, os.environ, str(tmp_path))


def children() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def test_the_command_has_the_workers_and_all_ends_with_it(node: DaskNode) -> None:
    before = {process.pid for process in children()}
    code = (
        "import os; from distributed import Client;"
        "client = Client(os.environ['NORIA_DASK_ADDRESS']);"
        "assert client.submit(sum, [1, 2]).result() == 3; raise SystemExit(7)"
    )
    assert node.lead([sys.executable, "-c", code]) == 7
    assert {process.pid for process in children()} <= before


def test_a_worker_that_dies_ends_the_command_and_nothing_listens_beyond_the_node(node: DaskNode) -> None:
    before = {process.pid for process in children()}
    heard: list[str] = []

    def kill() -> None:
        while not any("time.sleep(600)" in " ".join(process.cmdline()) for process in children()):
            time.sleep(0.1)
        for process in children():
            if process.pid not in before:
                heard.extend(c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN)
        next(p for p in children() if "worker" in p.cmdline() and p.pid not in before).kill()

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(JobError, match="Dask's workers on the first node ended too early"):
        node.lead([sys.executable, "-c", "import time; time.sleep(600)"])
    thread.join()
    assert set(heard) == {"127.0.0.1"}
    deadline = time.monotonic() + 10
    while {p.pid for p in children()} - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {process.pid for process in children()} <= before


def test_a_rank_without_an_address_is_refused() -> None:
    with pytest.raises(InputError, match="NODE_RANK, WORLD_SIZE"):
        _ = Settings.from_env({"WORLD_SIZE": "2", "NODE_RANK": "1"}).node
    assert Settings.from_env({}).node == Node(rank=0, count=1, first="127.0.0.1", port=0)
