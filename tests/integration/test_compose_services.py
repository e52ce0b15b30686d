"""Services of docker-compose.yaml as processes on this machine, by the command lines that stand in the file."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support import compose

pytestmark = pytest.mark.slow
SERVICES = compose.load()["services"]
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def command(name: str, ports: dict[str, int], hosts: dict[str, str], tmp_path: Path) -> list[str]:
    """The service's command line with the ports, hosts and folders of this test in it."""
    program, *arguments = SERVICES[name]["command"]
    changes = {f"//{host}:": f"//{here}:" for host, here in hosts.items()}
    changes |= {"0.0.0.0": "127.0.0.1", "/var/": f"{tmp_path}/", "/tmp/dask": str(tmp_path)}
    text = "\n".join(arguments) + "\n"
    for old, new in changes.items():
        text = text.replace(old, new)
    for port, here in ports.items():
        text = text.replace(f"{port}\n", f"{here}\n")
    return [str(BIN / program), *text.splitlines()]


@contextmanager
def service(name: str, words: list[str], tmp_path: Path, **environ: str) -> Iterator[Path]:
    """The service in a process group of its own, ended with the test; its log."""
    log = tmp_path / f"{name}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            words,
            cwd=tmp_path,
            env={**os.environ, **environ},
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def healthy(name: str, ports: dict[str, int], log: Path, seconds: float = 60) -> None:
    """Wait until the file's own health check of the service would pass."""
    url = SERVICES[name]["healthcheck"]["test"][-1].replace("localhost", "127.0.0.1")
    for port, here in ports.items():
        url = url.replace(f":{port}/", f":{here}/")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{name} did not get healthy at {url}:\n{log.read_text()[-3000:]}")


def test_the_mlflow_server_registers_a_model_for_clients_that_know_it_as_mlflow(tmp_path: Path) -> None:
    ports = {"5000": free_port()}
    words = command("mlflow", ports, {}, tmp_path)
    url = f"http://127.0.0.1:{ports['5000']}"
    database = f"sqlite:///{tmp_path}/mlflow.db"
    with service("mlflow", words, tmp_path, MLFLOW_BACKEND_STORE_URI=database) as log:
        healthy("mlflow", ports, log)
        client = f"""
import mlflow, pathlib
from mlflow import MlflowClient
client = MlflowClient({url!r}, {url!r})
client.create_registered_model("m")
run = client.create_run("0")
pathlib.Path("model.txt").write_text("bytes")
client.log_artifact(run.info.run_id, "model.txt")
version = client.create_model_version("m", f"runs:/{{run.info.run_id}}", run.info.run_id)
client.set_registered_model_alias("m", "champion", version.version)
print(client.get_model_version_by_alias("m", "champion").version)
"""
        done = subprocess.run([sys.executable, "-c", client], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.strip().endswith("1"), done.stderr
        assert list((tmp_path / "mlflow" / "artifacts").rglob("model.txt")), "artifacts go through the server"
        for host, expected in (("mlflow:5000", 200), ("localhost:5001", 200), ("evil.example.org", 403)):
            request = urllib.request.Request(f"{url}/api/2.0/mlflow/experiments/get?experiment_id=0")
            request.add_header("Host", host)
            try:
                status = urllib.request.urlopen(request, timeout=10).status
            except urllib.error.HTTPError as error:
                status = error.code
            assert status == expected, f"a client that calls the server {host!r} got {status}"


def test_dask_workers_find_the_scheduler_and_do_work(tmp_path: Path) -> None:
    ports = {"8786": free_port(), "8787": free_port(), "8790": free_port()}
    hosts = {"dask-scheduler": "127.0.0.1"}
    address = f"tcp://127.0.0.1:{ports['8786']}"
    environ = {k: v for k, v in SERVICES["dask-worker"]["environment"].items() if k.startswith("OMP")}
    with ExitStack() as stack:
        words = command("dask-scheduler", ports, hosts, tmp_path)
        log = stack.enter_context(service("dask-scheduler", words, tmp_path))
        healthy("dask-scheduler", ports, log)
        first = command("dask-worker", ports, hosts, tmp_path)
        assert address in first
        log = stack.enter_context(service("dask-worker", first, tmp_path, **environ))
        healthy("dask-worker", ports, log)
        second = command("dask-worker", {**ports, "8790": free_port()}, hosts, tmp_path)
        stack.enter_context(service("dask-worker-2", second, tmp_path, **environ))  # as `--scale dask-worker=2` does
        client = f"""
import os
from distributed import Client
with Client({address!r}, timeout=20) as client:
    client.wait_for_workers(2, timeout=40)
    assert sorted(client.gather(client.map(lambda x: x * x, range(20)))) == [x * x for x in range(20)]
    print(len(set(client.run(os.getpid).values())), set(client.run(lambda: os.environ["OMP_NUM_THREADS"]).values()))
"""
        done = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, timeout=90, check=False)
        assert done.stdout.strip() == "2 {'1'}", done.stderr
