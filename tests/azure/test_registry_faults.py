"""The registry on Azure ML in trouble: what it survives, what it says, and that no step leaves a second version."""

import hashlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.transport import HttpTransport

from noria.azure import ML, PRODUCTION
from noria.azure import ml_client as ml_client_module
from noria.errors import (
    BusyError,
    NoriaError,
    StaleVerdictError,
    StorageAccessError,
    StorageError,
    StorageUnavailableError,
)
from noria.records import ChampionVersion
from noria.registry.azureml_registry import AzureMLRegistry
from noria.settings import CHECKOUT
from tests.azure.twin.client import Twin
from tests.support.registering import KEYRING, Judged, judged, judged_now, rollback

pytestmark = pytest.mark.slow

VERSION = r"/models/[^/?]+/versions/\d+\?"
THROTTLED = {"status": 429, "body": '{"error": {"code": "TooManyRequests", "message": "Slow down."}}'}
UNAVAILABLE = {"status": 503, "body": '{"error": {"code": "ServiceUnavailable", "message": "Later."}}'}


@pytest.fixture
def registry(twin: Twin) -> AzureMLRegistry:
    return AzureMLRegistry(twin.connection(ML), KEYRING)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "f" + hashlib.sha256(request.node.name.encode()).hexdigest()[:8]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the SDKs wanted to wait between attempts; nobody waits."""
    seconds: list[float] = []
    for kind in (HttpTransport, *_below(HttpTransport)):
        if "sleep" in vars(kind):
            monkeypatch.setattr(kind, "sleep", lambda self, duration: seconds.append(duration))
    return seconds


def _below(kind: type) -> list[type]:
    return [k for child in kind.__subclasses__() for k in (child, *_below(child))]


@pytest.fixture
def promote(registry: AzureMLRegistry, name: str, tmp_path: Path) -> Callable[..., ChampionVersion]:
    """Registers the bytes of a name for a run of the same name, and crowns them; again, it is the same verdict."""
    made: dict[str, Judged] = {}

    def promote(
        run_id: str = "r1", number: int = 1, champion: str | None = None, into: AzureMLRegistry = registry
    ) -> ChampionVersion:
        if run_id not in made:
            made[run_id] = judged(tmp_path, name, run_id, number, champion)
        return made[run_id].promote(into)

    return promote


@pytest.fixture
def line(promote: Callable[..., ChampionVersion]) -> Callable[..., None]:
    """Promotes so many runs, one after the other."""

    def line(count: int) -> None:
        for number in range(1, count + 1):
            promote(f"r{number}", number, str(number - 1) if number > 1 else None)

    return line


def test_few_requests(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    promote()
    second = judged(tmp_path, name, "r2", 2, "1")
    twin.reset()
    second.register(registry)
    assert len(twin.requests("management")) <= 8 and len(twin.requests("storage")) <= 5
    twin.reset()
    registry.crown(name, "2", second.verdict)
    assert len(twin.requests("management")) <= 7 and len(twin.requests("storage")) <= 1
    twin.reset()
    registry.champion(name)
    assert len(twin.requests()) == 1
    twin.reset()
    second.promote(registry)
    assert {(r.service, r.method) for r in twin.requests()} == {("management", "GET"), ("storage", "GET")}
    twin.reset()
    assert registry.audit(name) == []
    assert len(twin.requests()) <= 3


@pytest.mark.parametrize(("fault", "wait"), [(THROTTLED | {"headers": {"Retry-After": "3"}}, 30), (UNAVAILABLE, 30)])
def test_half_a_minute_of_refusals_is_survived(
    twin: Twin, promote: Callable[..., Any], slept: list[float], fault: dict[str, Any], wait: float
) -> None:
    """Every kind of request to Azure ML meets it: the versions, the datastores, the newest version, the new one."""
    requests = ("listViewType", "isDefault", "datastores/workspaceblobstore", "createdtime", VERSION)
    for path in requests:
        twin.fault("management", path=path, times=10, **fault)
    assert promote().is_champion
    assert sum(slept) >= wait * len(requests)
    assert len([r for r in twin.requests("management") if r.fault]) == 10 * len(requests)


def test_an_upload_survives_an_unavailable_storage(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], slept: list[float], name: str, tmp_path: Path
) -> None:
    twin.fault("storage", method="PUT", path="model.skops", times=5, **UNAVAILABLE)
    version = promote()
    assert sum(slept) >= 30
    assert registry.fetch(name, version.version, tmp_path).read_bytes() == b"r1"


def test_the_last_attempts_refusal_is_told_and_may_pass(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], slept: list[float], name: str
) -> None:
    twin.fault("management", method="PUT", **UNAVAILABLE)
    with pytest.raises(StorageUnavailableError, match=r"Azure ML workspace noria: .*Later"):
        promote()
    twin.reset()
    assert registry.history(name) == []
    assert promote().version == "1"


def test_a_service_that_does_not_answer(
    twin: Twin, monkeypatch: pytest.MonkeyPatch, slept: list[float], name: str
) -> None:
    monkeypatch.setattr(ml_client_module, "READ_SECONDS", 0.3)
    registry = AzureMLRegistry(twin.connection(ML), KEYRING)
    twin.fault("management", delay_seconds=2, times=2)
    assert registry.history(name) == []
    twin.fault("management", delay_seconds=2)
    with pytest.raises(StorageUnavailableError, match="no connection"):
        registry.history(name)


@pytest.mark.parametrize("times", [1, 100])
def test_a_lost_answer_leaves_one_version(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], slept: list[float], name: str, times: int
) -> None:
    twin.fault("management", method="PUT", path=VERSION, lose_response=True, times=times)
    if times == 1:
        assert promote().is_champion
    else:
        with pytest.raises(StorageUnavailableError):
            promote()
        twin.reset()
        assert promote().is_champion
    (version,) = registry.history(name)
    assert (version.version, version.run_id, version.is_champion) == ("1", "r1", True)


def test_two_at_once_do_not_overwrite_one_another(
    twin: Twin, registry: AzureMLRegistry, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lake's lock: the second has looked before the first has written."""
    upload, first, second = registry._upload, judged(tmp_path, name, "first"), judged(tmp_path, name, "second")

    def upload_late(*arguments: Any) -> Any:
        first.promote(AzureMLRegistry(twin.connection(ML), KEYRING))
        return upload(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_upload", upload_late)
        with pytest.raises(BusyError, match="another run has registered version 1"):
            second.register(registry)
    (version,) = registry.history(name)
    assert (version.run_id, version.is_champion) == ("first", True)
    assert registry.fetch(name, "1", tmp_path).read_bytes() == b"first"
    with pytest.raises(StaleVerdictError):
        second.register(registry)
    assert judged_now(registry, tmp_path, name, "second").promote(registry).version == "2"


def test_a_version_that_came_between_asking_and_writing_is_not_overwritten(
    twin: Twin, registry: AzureMLRegistry, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azure ML itself refuses another path."""
    put = registry._client.models.create_or_update

    def put_late(model: Any) -> Any:
        judged(tmp_path, name, "first").promote(AzureMLRegistry(twin.connection(ML), KEYRING))
        return put(model)

    with monkeypatch.context() as patch:
        patch.setattr(registry._client.models, "create_or_update", put_late)
        with pytest.raises(BusyError, match="another run has registered version 1"):
            judged(tmp_path, name, "second").register(registry)
    assert [v.run_id for v in registry.history(name)] == ["first"] and registry.audit(name) == []


def test_a_list_that_lags_behind(
    registry: AzureMLRegistry, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry finds its own version, crown and all; another run is refused."""
    one, two, models, lag = judged(tmp_path, name, "r1"), judged(tmp_path, name, "r2"), registry._models, [True]
    champion = one.promote(registry)

    def lagging(name: str) -> Any:
        return [] if lag and lag.pop() else models(name)

    with monkeypatch.context() as patch:
        patch.setattr(registry, "_models", lagging)
        assert one.register(registry) == champion
        lag.append(True)
        with pytest.raises(BusyError):
            two.register(registry)
    assert registry.history(name) == [champion] and registry.audit(name) == []


def test_a_deleted_versions_number_is_not_used_again(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], line: Callable[[int], None], name: str
) -> None:
    line(3)
    for version in ("2", "3"):
        registry._client.models._model_versions_operation.delete(
            twin.connection(ML).get("resourceGroup"), "noria", name, version
        )
    champion = registry.champion(name)
    assert champion is not None and champion.version == "1"
    assert promote("r9", 2, "1").version == "4"


def test_versions_of_others_and_names_that_are_no_numbers(
    registry: AzureMLRegistry, promote: Callable[..., Any], name: str
) -> None:
    from azure.ai.ml.entities import Model

    path = "azureml://datastores/workspaceblobstore/paths/theirs"
    for version in ("7", "final-2"):
        registry._client.models.create_or_update(Model(name=name, version=version, path=path))
    assert registry.history(name) == [] and registry.champion(name) is None
    assert promote().version == "8"
    assert len(registry.history(name)) == 1
    assert registry.audit(name) == []
    assert [stranger.partition(": ")[0] for stranger in registry.strangers(name)] == [
        f"{name} version {version}" for version in ("7", "final-2")
    ]


def test_the_highest_number_is_the_champions_for_readers_outside(
    registry: AzureMLRegistry, line: Callable[[int], None], name: str
) -> None:
    line(2)
    (first,) = [v for v in registry.history(name) if v.version == "1"]
    registry.crown(name, "1", rollback(registry, name, first))
    numbers = {m.version: m.tags["noria.champion"] for m in registry._client.models.list(name)}
    assert numbers == {"1": "3", "2": "2"}
    assert registry._client.models.get(name, "1").description == "better by 0.02"


def test_a_number_that_a_person_gives_makes_no_champion(
    registry: AzureMLRegistry, line: Callable[[int], None], name: str
) -> None:
    line(2)
    old = registry._client.models.get(name, "1")
    old.tags["noria.champion"] = "3"
    registry._client.models.create_or_update(old)
    assert [v.version for v in registry.history(name) if v.is_champion] == ["2"]
    (finding,) = registry.audit(name)
    assert "version 1: its tag noria.champion says 3, not 1: it was changed by hand" in finding


def test_an_archived_version_still_counts(registry: AzureMLRegistry, promote: Callable[..., Any], name: str) -> None:
    promote("r1")
    registry._client.models.archive(name, "1")
    assert [v.version for v in registry.history(name)] == ["1"]
    assert promote("r2", 2, "1").version == "2"


def test_many_versions_come_in_pages(
    twin: Twin, registry: AzureMLRegistry, line: Callable[[int], None], name: str
) -> None:
    twin.set("management", page=2)
    line(5)
    assert [v.version for v in registry.history(name)] == ["5", "4", "3", "2", "1"]


def test_a_token_that_is_refused_is_renewed(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], name: str, tmp_path: Path
) -> None:
    """The client presents a token that was good a moment ago, to Azure ML and to the storage account."""
    promote("r1")
    twin.set("identity", refuse_before=time.time())
    assert promote("r2", 2, "1").is_champion
    twin.set("identity", refuse_before=time.time())
    assert registry.history(name)[0].run_id == "r2"
    twin.set("identity", refuse_before=time.time())
    assert registry.fetch(name, "2", tmp_path).read_bytes() == b"r2"
    assert [r.status for r in twin.requests("management")].count(401) == 3
    asked = len(twin.requests("identity"))
    twin.fault("storage", path="model.skops", times=1, status=401)
    assert registry.fetch(name, "2", tmp_path).read_bytes() == b"r2"
    assert len(twin.requests("identity")) > asked


REFUSALS = [
    ({"status": 403, "body": '{"error": {"code": "AuthorizationFailed", "message": "The client may not do this."}}'},
     StorageAccessError, "AzureML Data Scientist"),
    ({"status": 401, "body": '{"error": {"code": "ExpiredAuthenticationToken", "message": "It has expired."}}'},
     StorageAccessError, "expired"),
    ({"status": 404, "body": '{"error": {"code": "ResourceNotFound", "message": "The workspace was not found."}}'},
     StorageError, "there is no such thing"),
    ({"status": 400, "body": '{"error": {"code": "UserError", "message": "No."}}'}, StorageError, "refused"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "kind", "words"), REFUSALS, ids=lambda value: str(value)[:14])
def test_what_does_not_pass_is_said(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], fault: dict[str, Any], kind: type[NoriaError],
    words: str, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG, logger="noria")
    for method in ("GET", "PUT"):
        twin.reset()
        twin.fault("management", method=method, **fault)
        with pytest.raises(kind) as caught:
            promote()
        assert words in str(caught.value) and "Azure ML workspace noria" in str(caught.value)
        assert not caught.value.retryable
        said = str(caught.value) + caplog.text + repr(registry)
        assert not [secret for secret in twin.planted_secrets if secret in said]


def test_a_missing_role_on_the_storage_account_is_named(
    twin: Twin, registry: AzureMLRegistry, promote: Callable[..., Any], name: str
) -> None:
    twin.fault("storage", method="PUT", status=403, headers={"x-ms-error-code": "AuthorizationPermissionMismatch"})
    with pytest.raises(StorageAccessError) as caught:
        promote()
    for word in ("Storage Blob Data Contributor", "the storage account of the Azure ML workspace", "devstoreaccount1"):
        assert word in str(caught.value)
    assert registry.history(name) == []


def test_a_deleted_workspace(twin: Twin, name: str) -> None:
    twin.set("management", deleted="noria-production")
    with pytest.raises(StorageError, match=r"Azure ML workspace noria-production: there is no such thing"):
        AzureMLRegistry(twin.connection(PRODUCTION), KEYRING).history(name)


@pytest.mark.parametrize("code", ["UserError", "NotFound", ""])
def test_no_such_model_is_an_empty_history_whatever_azure_calls_it(
    twin: Twin, registry: AzureMLRegistry, name: str, code: str
) -> None:
    body = json.dumps({"error": {"code": code, "message": "Not found."}}) if code else ""
    twin.fault("management", status=404, body=body)
    assert registry.history(name) == []


def test_the_wrong_tenant(twin: Twin, name: str) -> None:
    twin.set("identity", tenant="11111111-2222-3333-4444-555555555555")
    with pytest.raises(StorageAccessError, match="the identity is of another tenant") as caught:
        AzureMLRegistry(twin.connection(ML), KEYRING).history(name)
    assert "extra.tenantId" in str(caught.value)


KILLER = """
import os, pickle, signal, sys
from pathlib import Path
import mlflow.pyfunc
from azure.core.pipeline.transport import RequestsTransport
from noria.azure import AzureConnection
from noria.azure.ml_client import ml_client
from noria.registry.azureml_registry import AzureMLRegistry
from tests.support.registering import KEYRING, Judged

connection = AzureConnection.parse("azureml_default", os.environ["AIRFLOW_CONN_AZUREML_DEFAULT"])
ml_client(connection)  # imported once for all children
waiting = pickle.loads(Path(sys.argv[1]).read_bytes())

def attempt(step):
    left, send = [step], RequestsTransport.send
    def send_and_die(self, request, **options):
        response = send(self, request, **options)
        if "/msi/" not in request.url:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return response
    RequestsTransport.send = send_and_die
    waiting[step].promote(AzureMLRegistry(connection, KEYRING))

step, code = 0, -signal.SIGKILL
while code == -signal.SIGKILL:
    step += 1
    child = os.fork()
    if not child:
        attempt(step)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(code, flush=True)
"""


def test_killed_after_any_request_a_retry_ends_with_one_champion(
    twin: Twin, registry: AzureMLRegistry, tmp_path: Path
) -> None:
    search = os.pathsep.join([twin.environment["PYTHONPATH"], str(CHECKOUT)])
    waiting = {step: judged(tmp_path, f"killed{step}", "r") for step in range(1, 50)}
    (tmp_path / "waiting").write_bytes(pickle.dumps(waiting))
    killer = subprocess.run(
        [sys.executable, "-c", KILLER, tmp_path / "waiting"], check=False,
        env={**os.environ, "PYTHONPATH": search}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    codes = [int(line) for line in killer.stdout.split()]
    assert codes and codes[-1] == 0 and set(codes[:-1]) == {-signal.SIGKILL}, killer.stderr
    assert len(codes) >= 16  # register: list, datastore, four files, read back, version; crown: list, read back, tags
    for step in range(1, len(codes)):
        name = f"killed{step}"
        assert len(registry.history(name)) <= 1
        version = waiting[step].promote(registry)
        assert registry.history(name) == [version] and (version.version, version.is_champion) == ("1", True)
        assert registry.audit(name) == [], "the bytes are there, too"
