"""docker-compose.yaml against the Compose Specification, and its settings against the code."""

from __future__ import annotations

import base64
import json
import os
import re
import runpy
import stat
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.fernet import Fernet
from ruamel.yaml import YAML

from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring
from tests.support import compose
from tests.support.compose import COMPOSE_FILE, ROOT

AIRFLOW = Path(sysconfig.get_path("purelib")) / "airflow"
SCHEMA = ROOT / "tests" / "support" / "compose_spec" / "compose-spec.json"
TEXT = COMPOSE_FILE.read_text(encoding="utf-8")
SECRET_NAME = re.compile(r"PASSWORD$|SECRET|_KEY$|AUTH$|ACCOUNTS$|SQL_ALCHEMY_CONN|BROKER_URL|RESULT_BACKEND|STORE_URI")
OPTIONAL = {"ENTRA_CLIENT_SECRET"}
"""Secrets that are only needed where their feature is switched on."""
SERVICES = compose.load()["services"]


SECRETS = {k for k in compose.read_env(ROOT / ".env.example") if SECRET_NAME.search(k)} - OPTIONAL


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("env") / ".env"
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import make_env; from pathlib import Path; "
    subprocess.run([sys.executable, "-c", code + f"sys.exit(make_env.main(Path({str(target)!r})))"], check=True)
    return target


@pytest.fixture(scope="module")
def services(env_file: Path) -> dict[str, Any]:
    return compose.load(compose.read_env(env_file))["services"]


def test_the_file_fits_the_compose_specification(env_file: Path) -> None:
    schema = json.loads(SCHEMA.read_text())
    document = compose.load(compose.read_env(env_file))
    errors = [f"{list(e.path)}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(document)]
    assert not errors
    broken = {**document, "services": {"x": {"image": "a:1", "restarts": "always"}}}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(broken)), "the schema accepts unknown keys"


# Secrets


def test_the_env_file_is_private_complete_and_never_overwritten(env_file: Path) -> None:
    assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
    settings = compose.read_env(env_file)
    secrets = {k: v for k, v in settings.items() if SECRET_NAME.search(k) and k not in OPTIONAL}
    assert not any(settings[k] for k in OPTIONAL)
    assert all(len(v) >= 32 for v in secrets.values()) and len(set(secrets.values())) == len(secrets) == 8
    Fernet(settings["AIRFLOW_FERNET_KEY"])
    assert len(base64.b64decode(settings["AZURITE_ACCOUNT_KEY"], validate=True)) == 64
    assert len(settings["AIRFLOW_JWT_SECRET"]) >= 64
    before = env_file.read_bytes()
    again = f"import make_env; from pathlib import Path; raise SystemExit(make_env.main(Path({str(env_file)!r})))"
    answer = subprocess.run(
        [sys.executable, "-c", again], cwd=ROOT / "tools", capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1 and "exists" in answer.stderr
    assert env_file.read_bytes() == before


def test_an_older_env_file_gets_what_it_lacks_and_keeps_the_rest(env_file: Path, tmp_path: Path) -> None:
    old = "".join(
        line for line in env_file.read_text().splitlines(keepends=True) if not line.startswith("NORIA_VERDICTS_KEY=")
    ).rstrip("\n")
    target = tmp_path / ".env"
    target.write_text(old)
    make = f"import make_env; from pathlib import Path; raise SystemExit(make_env.main(Path({str(target)!r})))"
    said = subprocess.run([sys.executable, "-c", make], cwd=ROOT / "tools", capture_output=True, text=True, check=True)
    added = target.read_text().removeprefix(old + "\n")
    assert re.fullmatch(r"NORIA_VERDICTS_KEY=\S{32,}\n", added)
    assert "NORIA_VERDICTS_KEY" in said.stdout and added.partition("=")[2].strip() not in said.stdout


def test_the_key_that_signs_verdicts_is_given_to_workers_alone(services: dict[str, Any]) -> None:
    name = "AIRFLOW_CONN_NORIA_VERDICTS"
    key = Settings.from_env(services["airflow-worker"]["environment"]).connection_password(VERDICTS)
    assert key and len(Keyring.parse(key).keys) == 1
    assert [s for s, service in services.items() if key in json.dumps(service)] == ["airflow-worker"]
    assert [s for s, service in SERVICES.items() if name in service.get("environment", {})] == ["airflow-worker"]


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_missing_secret_is_refused_with_the_remedy(name: str, env_file: Path) -> None:
    assert compose.read_env(ROOT / ".env.example")[name] == "", "the example carries a secret"
    with pytest.raises(compose.MissingVariableError, match=name):
        compose.load({**compose.read_env(env_file), name: ""})
    uses = [m for m in compose.VARIABLE.finditer(TEXT) if m["name"] == name]
    assert uses and all(m["operator"] == ":?" and "make env" in m["argument"] for m in uses)


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if key in OPTIONAL:
                assert value == f"${{{key}:-}}" and name == "airflow-api-server", f"{name} has {key}: {value}"
            elif SECRET_NAME.search(key):
                assert re.search(r"\$\{[A-Z_]+:\?", value), f"{name}: {key} has a value of its own: {value}"
        assert "PASSWORD:" not in " ".join(service.get("command", ())), f"{name} has a password in its command line"


def test_every_variable_is_in_the_example_and_the_other_way_round() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT))
    assert used == set(compose.read_env(ROOT / ".env.example"))


# Settings against the code


def test_every_noria_setting_is_read_by_the_library() -> None:
    source = (ROOT / "include" / "noria" / "settings.py").read_text(encoding="utf-8")
    given = {k for s in SERVICES.values() for k in s.get("environment", {}) if k.startswith("NORIA_")}
    assert given
    assert not {k for k in given if f'"{k}"' not in source}


def test_the_library_reads_the_settings_as_they_are_meant(services: dict[str, Any]) -> None:
    settings = Settings.from_env(services["airflow-worker"]["environment"])
    assert settings.home == Path("/var/noria")
    assert settings.registry_url == "http://mlflow:5000"
    assert settings.dask_address == "tcp://dask-scheduler:8786"
    assert settings.ui_url == "http://localhost:8080"
    assert settings.connection_password("github_default") is None
    assert any(v.startswith("noria-home:/var/noria") for v in services["airflow-worker"]["volumes"])


def test_on_azure_the_same_services_have_the_lake_and_the_registry_of_azure(env_file: Path) -> None:
    from noria.settings import Settings

    file = ROOT / "docker-compose.azure.yaml"
    document = compose.load(file=file)
    assert not list(jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(document))
    base = compose.load(compose.read_env(env_file))["services"]
    airflow = {name for name, service in base.items() if "AIRFLOW__CORE__EXECUTOR" in service.get("environment", {})}
    assert set(document["services"]) == airflow
    example = {k: v.strip("'") for k, v in compose.read_env(ROOT / ".env.azure.example").items()}
    for name, service in document["services"].items():
        assert service["env_file"] == ".env.azure"
        settings = Settings.from_env({**example, **base[name]["environment"], **service["environment"]})
        assert (settings.profile, settings.lake_url) == ("azure", example["NORIA_LAKE_URL"])
        assert settings.registry_url == ""
    assert str(file.name) in (ROOT / "docs" / "azure.md").read_text()


def test_every_airflow_setting_exists() -> None:
    core = YAML(typ="safe").load(AIRFLOW / "config_templates" / "config.yml")
    known = {(section, option) for section, body in core.items() for option in body["options"]}
    for folder in (AIRFLOW, compose.LOGIN / "airflow"):
        provider = folder / "providers" / ("fab" if compose.LOGIN in folder.parents else "celery")
        info = runpy.run_path(str(provider / "get_provider_info.py"))["get_provider_info"]()
        known |= {(section, option) for section, body in info["config"].items() for option in body["options"]}
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    given = {k for s in SERVICES.values() for k in s.get("environment", {}) if k.startswith("AIRFLOW__")}
    given |= set(re.findall(r"AIRFLOW__[A-Z_]+", dockerfile))
    assert len(given) > 10
    assert not {k for k in given if tuple(k.lower().split("__")[1:]) not in known}
    assert core["api"]["options"]["port"]["default"] == "8080", "tests.support.compose takes this port for granted"


def test_the_login_is_airflows_own_unless_entra_is_chosen(env_file: Path) -> None:
    def managers(chosen: str) -> set[str]:
        given = compose.load(compose.read_env(env_file) | {"AIRFLOW_AUTH_MANAGER": chosen})["services"].values()
        environments = [service.get("environment", {}) for service in given]
        return {e["AIRFLOW__CORE__AUTH_MANAGER"] for e in environments if "AIRFLOW__CORE__EXECUTOR" in e}

    core = YAML(typ="safe").load(AIRFLOW / "config_templates" / "config.yml")["core"]["options"]
    assert managers("") == {core["auth_manager"]["default"]}
    assert managers("another") == {"another"}


def test_the_login_by_entra_names_what_is_missing(services: dict[str, Any]) -> None:
    file = services["airflow-api-server"]["environment"]["AIRFLOW__FAB__CONFIG_FILE"].replace("/opt/noria", str(ROOT))
    code = """
import os, runpy, sys
names = ("ENTRA_TENANT_ID", "ENTRA_CLIENT_ID", "ENTRA_CLIENT_SECRET")
for missing in (None, *names):
    os.environ.update({name: "" if name == missing else "given" for name in names})
    try:
        print(runpy.run_path(sys.argv[1])["AUTH_TYPE"])
    except RuntimeError as error:
        print(str(error).split(":")[0])
"""
    environ = {**os.environ, "PYTHONPATH": str(compose.LOGIN)}
    done = subprocess.run([sys.executable, "-c", code, file], env=environ, capture_output=True, text=True, check=True)
    lines = [f"ENTRA_{name} is empty" for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")]
    assert done.stdout.splitlines() == ["4", *lines], "4 is OAuth"


def test_people_are_sent_to_the_address_that_they_use(env_file: Path) -> None:
    settings = compose.read_env(env_file)
    for chosen, expected in (
        ({}, "http://localhost:8080"),
        ({"NORIA_UI_PORT": "9090"}, "http://localhost:9090"),
        ({"NORIA_UI_URL": "https://noria.example.com"}, "https://noria.example.com"),
    ):
        given = compose.load(settings | chosen)["services"]["airflow-api-server"]["environment"]
        assert given["AIRFLOW__API__BASE_URL"] == given["NORIA_UI_URL"] == expected


def test_every_connection_is_one_that_the_code_uses(services: dict[str, Any]) -> None:
    code = "\n".join(p.read_text() for folder in ("include", "dags") for p in (ROOT / folder).rglob("*.py"))
    for key, value in services["airflow-worker"]["environment"].items():
        if key.startswith("AIRFLOW_CONN_"):
            assert json.loads(value)["conn_type"]
            assert f'"{key.removeprefix("AIRFLOW_CONN_").lower()}"' in code, f"nobody uses {key}"


def test_every_path_exists() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith((".", "/")):
                assert (ROOT / source).exists(), f"{name} mounts {source}"
            else:
                assert source in compose.load()["volumes"], f"{name}: volume {source} is not declared"
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    mounted = {v.split(":")[0] for s in SERVICES.values() for v in s.get("volumes", ())}
    assert set(compose.load()["volumes"]) <= mounted, "a volume that nobody mounts"


def test_the_dockerfile_copies_what_exists_and_what_its_context_lets_in() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    copied = [w for line in re.findall(r"^COPY --chown=\S+ (.+) \S+$", dockerfile, re.M) for w in line.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == allowed
    assert not [p for p in copied if not (ROOT / p).exists()]
    assert "--require-hashes" in dockerfile
    for service in SERVICES.values():
        for word in service.get("command", ()):
            if word.startswith("/opt/noria/"):
                assert (ROOT / word.removeprefix("/opt/noria/")).is_file()


# Versions, ports, health


def test_every_image_is_pinned_and_agrees_with_the_lock() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, service in SERVICES.items():
        image, _, tag = service["image"].rpartition(":")
        assert re.match(r"v?\d+\.\d+", tag), f"{name}: {service['image']} is not pinned"
        if "build" in service:
            assert (image, tag) == ("noria", version)
    base = re.search(r"^FROM apache/airflow:([\d.]+)-python3\.11$", (ROOT / "docker" / "Dockerfile").read_text(), re.M)
    lock = (ROOT / "requirements.txt").read_text()
    assert base and f"\napache-airflow=={base[1]} " in lock
    for package in ("celery", "redis", "psycopg2-binary"):
        assert re.search(rf"^{package}==", lock, re.M), f"the deployment needs {package} in the lock"


def test_every_port_agrees(services: dict[str, Any]) -> None:
    listening = {name: compose.listening_ports(name, service) for name, service in services.items()}
    seen = 0
    for name, service in services.items():
        for published in service.get("ports", ()):
            address, _, port = published.rpartition(":")
            assert address.startswith("127.0.0.1:"), f"{name} publishes {published} beyond this machine"
            assert int(port) in listening[name], f"{name} does not listen on {port}"
        texts = [*map(str, service.get("environment", {}).values()), *service.get("command", ())]
        for host, port in re.findall(r"(?:@|//)([a-z-]+):(\d+)(?=[/\s,]|$)", " ".join(texts)):
            if host != "localhost":
                assert int(port) in listening[host], f"{name} expects {host} on {port}"
                seen += 1
        health = " ".join(service.get("healthcheck", {}).get("test", ()))
        for port in re.findall(r"(?:localhost:|127\.0\.0\.1 |-p )(\d+)", health):
            assert int(port) in listening[name], f"{name} is asked for its health on {port}"
            seen += 1
    smtp = json.loads(services["airflow-worker"]["environment"]["AIRFLOW_CONN_SMTP_DEFAULT"])
    assert smtp["port"] in listening[smtp["host"]]
    ui = services["airflow-api-server"]
    assert ui["environment"]["NORIA_UI_URL"] == ui["environment"]["AIRFLOW__API__BASE_URL"]
    assert ui["ports"] == ["127.0.0.1:8080:8080"]
    assert seen > 20


def test_every_service_is_watched_and_restarted() -> None:
    once = {
        needed
        for service in SERVICES.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert once == {"airflow-init"}
    for name, service in SERVICES.items():
        if name in once:
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        for needed in service.get("depends_on", {}):
            assert needed in SERVICES


def test_the_init_script_writes_the_password_for_its_owner_alone(tmp_path: Path) -> None:
    script = (ROOT / "docker" / "airflow-init.sh").read_text()
    python = script.partition("<<'END'\n")[2].rpartition("END\n")[0]
    file = tmp_path / "passwords.json"
    environ = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file), "ADMIN_PASSWORD": 'a"b'}
    subprocess.run([sys.executable, "-c", python], env={**os.environ, **environ}, check=True)
    assert json.loads(file.read_text()) == {"admin": 'a"b'}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_executor_of_the_deployment_loads_with_the_locked_versions(tmp_path: Path) -> None:
    code = "from airflow.executors.executor_loader import ExecutorLoader as E; print(E.get_default_executor_name())"
    environ = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__EXECUTOR": SERVICES["airflow-worker"]["environment"]["AIRFLOW__CORE__EXECUTOR"],
    }
    code += "; E.import_default_executor_cls(); import airflow.providers.celery.executors.celery_executor"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CeleryExecutor" in done.stdout
