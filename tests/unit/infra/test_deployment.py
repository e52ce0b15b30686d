"""What the deployment of infra/ is made of: applied by Terraform itself, with a provider that only pretends."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from noria.azure import CONNECTIONS, COSTS, PRODUCTION, SYNAPSE, AzureConnection
from noria.azure.services import Service
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from noria.verdicts import Keyring
from tests.support.azurerm.provider import schemas
from tests.support.tables import table
from tests.support.terraform import INFRA, Terraform, terraform

DEVELOPER = "11111111-0000-0000-0000-000000000000"
DOCS = INFRA.parent / "docs" / "azure.md"


class Deployment:
    """The state after `terraform apply` in one environment."""

    def __init__(self, environment: str, state: dict[str, Any]) -> None:
        self.environment = environment
        self.resources = [r for r in state["root_module"]["resources"] if r["mode"] == "managed"]
        self.outputs = {name: output["value"] for name, output in state["outputs"].items()}

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Arguments of all resources of a type."""
        found = [r["values"] for r in self.resources if r["type"] == f"azurerm_{kind}"]
        assert found, f"no {kind}"
        return found

    def address(self, value: str) -> str:
        """Address of the resource that has this id or principal."""
        for resource in self.resources:
            values = resource["values"]
            inner = values.get("identity") or [{}]
            own = [values["id"], inner[0].get("principal_id")]
            if resource["type"] == "azurerm_user_assigned_identity":
                own.append(values["principal_id"])
            if value in own:
                return str(resource["address"]).removeprefix("azurerm_")
        return value


@pytest.fixture(scope="module")
def tf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    with terraform(tmp_path_factory.mktemp("terraform")) as found:
        yield found


@pytest.fixture(scope="module", params=["dev", "prod"])
def deployment(tf: Terraform, request: pytest.FixtureRequest) -> Deployment:
    words = [f"-var-file=environments/{request.param}.tfvars"]
    if request.param == "dev":
        words.append(f'-var=developer_object_ids=["{DEVELOPER}"]')
    return Deployment(request.param, tf.apply(*words))


# What must never be otherwise


def test_everything_is_tagged(deployment: Deployment) -> None:
    known = schemas()["resource_schemas"]
    taggable = [r for r in deployment.resources if "tags" in known[r["type"]]["block"]["attributes"]]
    assert len(taggable) > 12
    for resource in taggable:
        tags = resource["values"]["tags"] or {}
        assert tags.get("noria:environment") == deployment.environment, resource["address"]
        assert {"noria:deployment", "noria:managed-by", "noria:component"} <= set(tags), resource["address"]


def test_no_service_has_a_key_or_a_password(deployment: Deployment) -> None:
    for account in deployment.of("storage_account"):
        assert account["shared_access_key_enabled"] is False
        assert account["local_user_enabled"] is False
        assert account["default_to_oauth_authentication"] is True
    assert all(v["rbac_authorization_enabled"] for v in deployment.of("key_vault"))
    assert not any(r["admin_enabled"] or r["anonymous_pull_enabled"] for r in deployment.of("container_registry"))
    assert all(w["storage_account_access_type"] == "Identity" for w in deployment.of("machine_learning_workspace"))
    (synapse,) = deployment.of("synapse_workspace")
    assert synapse["azuread_authentication_only"] is True and not synapse["sql_administrator_login_password"]
    assert not any(c["local_auth_enabled"] for c in deployment.of("machine_learning_compute_cluster"))
    for kind in ("log_analytics_workspace", "application_insights"):
        assert all(x["local_authentication_enabled"] is False for x in deployment.of(kind))
    text = "".join(file.read_text() for file in INFRA.glob("*.tf"))
    assert not re.search(r"access_key\b|connection_string|_password|primary_key|instrumentation_key", text)


def test_data_is_private_encrypted_on_its_way_and_comes_back_after_a_mistake(deployment: Deployment) -> None:
    for account in deployment.of("storage_account"):
        assert account["min_tls_version"] == "TLS1_2" and account["https_traffic_only_enabled"] is True
        assert account["allow_nested_items_to_be_public"] is False
        (blobs,) = account["blob_properties"]
        assert blobs["delete_retention_policy"][0]["days"] >= 7
        assert blobs["container_delete_retention_policy"][0]["days"] >= 7
    assert all(c["container_access_type"] == "private" for c in deployment.of("storage_container"))
    for vault in deployment.of("key_vault"):
        assert vault["purge_protection_enabled"] is True
        assert vault["network_acls"][0]["default_action"] == "Deny"
    lake = next(a for a in deployment.of("storage_account") if a["name"].endswith("lake"))
    assert lake["is_hns_enabled"] is True
    assert not any(a["is_hns_enabled"] for a in deployment.of("storage_account") if a is not lake), (
        "Azure ML takes none"
    )


def test_the_lake_gets_cheaper_and_loses_nothing(deployment: Deployment) -> None:
    (policy,) = deployment.of("storage_management_policy")
    layers = set()
    for rule in policy["rule"]:
        deletes = any(v for k, v in rule["actions"][0]["base_blob"][0].items() if k.startswith("delete"))
        prefixes = set(rule["filters"][0]["prefix_match"])
        assert deletes != all(p.startswith("lake/") for p in prefixes)
        layers |= {p for p in prefixes if p.startswith("lake/")}
    code = "".join(p.read_text() for p in (INFRA.parent / "include" / "noria").rglob("*.py"))
    assert layers == {"lake/raw/", "lake/typed/", "lake/runs/"}
    assert all(f'f"{layer.removeprefix("lake/")}' in code for layer in layers), "the lake has no such folder"


def test_what_does_nothing_costs_nothing(deployment: Deployment) -> None:
    for cluster in deployment.of("machine_learning_compute_cluster"):
        assert cluster["scale_settings"][0]["min_node_count"] == 0
        assert cluster["ssh_public_access_enabled"] is False
    (pool,) = deployment.of("synapse_spark_pool")
    assert pool["auto_pause"][0]["delay_in_minutes"] <= 15
    assert pool["auto_scale"][0]["min_node_count"] == 3 <= pool["auto_scale"][0]["max_node_count"]
    assert (pool["node_size"], pool["session_level_packages_enabled"]) == ("Small", True)
    (budget,) = deployment.of("consumption_budget_resource_group")
    assert sorted(n["threshold"] for n in budget["notification"]) == [50, 80, 100]
    assert all(n["contact_emails"] for n in budget["notification"])
    assert re.fullmatch(r"\d{4}-\d{2}-01T00:00:00Z", budget["time_period"][0]["start_date"])
    assert all(w["daily_quota_gb"] > 0 for w in deployment.of("log_analytics_workspace"))


def test_names_fit_into_what_azure_allows(deployment: Deployment) -> None:
    limits = {
        "storage_account": r"[a-z0-9]{3,24}",
        "key_vault": r"[a-z][a-z0-9-]{1,22}[a-z0-9]",
        "container_registry": r"[a-zA-Z0-9]{5,50}",
        "machine_learning_workspace": r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}",
        "machine_learning_compute_cluster": r"[a-zA-Z][a-zA-Z0-9-]{1,14}[a-zA-Z0-9]",
        "synapse_workspace": r"[a-z0-9][a-z0-9-]{0,48}[a-z0-9]",
        "synapse_spark_pool": r"[a-zA-Z][a-zA-Z0-9]{0,14}",
        "storage_container": r"[a-z0-9][a-z0-9-]{2,62}",
    }
    for kind, pattern in limits.items():
        for values in deployment.of(kind):
            assert re.fullmatch(pattern, values["name"]), f"{kind} {values['name']}"  # the suffix is the longest


def test_whatever_is_asked_for_secrets_or_runs_jobs_is_watched(deployment: Deployment) -> None:
    watched = {deployment.address(d["target_resource_id"]) for d in deployment.of("monitor_diagnostic_setting")}
    kinds = ("key_vault", "machine_learning_workspace", "synapse_workspace", "synapse_spark_pool", "container_registry")
    assert {deployment.address(values["id"]) for kind in kinds for values in deployment.of(kind)} <= watched
    logs = {d["log_analytics_workspace_id"] for d in deployment.of("monitor_diagnostic_setting")}
    assert logs == {deployment.of("log_analytics_workspace")[0]["id"]}
    assert all(d["enabled_log"] for d in deployment.of("monitor_diagnostic_setting"))


# Roles


def grants(deployment: Deployment) -> set[tuple[str, str, str]]:
    """Who has which role on what, as docs/azure.md words it."""
    names = {
        r"user_assigned_identity\.(airflow|jobs)": r"\1",
        r'user_assigned_identity\.workspace\["(\w+)"\]': "workspace",
        r"synapse_workspace\.noria": "Synapse",
        r'storage_container\.container\["(\w+)"\]': r"container `\1`",
        r"resource_group\.noria": "resource group",
        r'storage_account\.account\["lake"\]': "storage account of the lake",
        r'storage_account\.account\["(\w+)"\]': "storage account of an Azure ML workspace",
        r'key_vault\.vault\["airflow"\]': "Airflow's key vault",
        r'key_vault\.vault\["(\w+)"\]': "key vault of an Azure ML workspace",
        r'machine_learning_workspace\.workspace\["(\w+)"\]': "Azure ML workspace",
        r"container_registry\.images": "container registry",
        r"application_insights\.ml": "Application Insights",
        r"synapse_spark_pool\.noria": "Spark pool",
        r"0{8}-.*": "operators",
        DEVELOPER: "developer",
    }

    def name(value: str) -> str:
        address = deployment.address(value)
        return next(re.sub(p, shown, address) for p, shown in names.items() if re.fullmatch(p, address))

    azure = deployment.of("role_assignment")
    synapse = deployment.of("synapse_role_assignment")
    found = {(name(g["principal_id"]), g["role_definition_name"], name(g["scope"])) for g in azure}
    return found | {(name(g["principal_id"]), g["role_name"], name(g["synapse_spark_pool_id"])) for g in synapse}


def test_the_roles_are_those_of_the_documentation_and_no_others(deployment: Deployment) -> None:
    told = {(row[0].strip("`"), row[1], row[2]) for row in table(DOCS, "Roles")}
    assert {grant for grant in grants(deployment) if grant[0] != "developer"} == told


def test_a_developer_gets_the_roles_of_airflow(deployment: Deployment) -> None:
    found = {(role, scope) for who, role, scope in grants(deployment) if who == "developer"}
    airflow = {(role, scope) for who, role, scope in grants(deployment) if who == "airflow"}
    assert found == (airflow if deployment.environment == "dev" else set()), "none by default"
    types = {g["principal_type"] for g in deployment.of("synapse_role_assignment") if g["principal_id"] == DEVELOPER}
    assert types <= {"User"}


def test_every_role_says_what_needs_it(deployment: Deployment) -> None:
    assert all(len(g["description"]) > 20 for g in deployment.of("role_assignment"))


def test_nobody_owns_anything_and_nothing_is_granted_on_everything(deployment: Deployment) -> None:
    for identity, role, _ in grants(deployment):
        assert role not in ("Owner", "User Access Administrator")
        assert role != "Contributor" or identity == "workspace"
    wide = {(role, scope) for _, role, scope in grants(deployment) if scope in ("resource group", "subscription")}
    assert wide == {("Cost Management Contributor", "resource group")}, "it reaches costs alone"
    lake = {"airflow", "jobs", "developer"}
    assert lake - {"developer"} <= {who for who, _, scope in grants(deployment) if scope == "container `lake`"} <= lake
    account = {(who, role) for who, role, scope in grants(deployment) if scope == "storage account of the lake"}
    assert {role for _, role in account} == {"Storage Account Contributor"}
    assert {who for who, _ in account} <= {"airflow", "developer"}


def test_the_roles_that_errors_name_are_granted(deployment: Deployment) -> None:
    granted = {role for who, role, _ in grants(deployment) if who == "airflow"}
    assert {service.role for service in Service} <= granted


def test_each_workspace_has_a_place_of_its_own_for_everything(deployment: Deployment) -> None:
    workspaces = deployment.of("machine_learning_workspace")
    assert len(workspaces) == {"dev": 1, "prod": 2}[deployment.environment]
    for key in ("storage_account_id", "key_vault_id", "primary_user_assigned_identity"):
        assert len({w[key] for w in workspaces}) == len(workspaces)
    (cluster,) = deployment.of("machine_learning_compute_cluster")
    jobs = cluster["identity"][0]["identity_ids"]
    assert [deployment.address(i) for i in jobs] == ["user_assigned_identity.jobs"]


# Outputs


def test_the_connections_are_those_that_the_code_reads(deployment: Deployment) -> None:
    told = deployment.outputs["connections"]
    assert set(told) == set(CONNECTIONS) - ({PRODUCTION} if deployment.environment == "dev" else set())
    documented = {conn_id: set(row_keys) for conn_id, row_keys in documented_extras().items()}
    for conn_id, text in told.items():
        connection = AzureConnection.parse(conn_id, text)
        assert not connection.password and not connection.login
        assert set(connection.extra) <= documented[conn_id], conn_id
        assert all(connection.extra.values())
    synapse = AzureConnection.parse(SYNAPSE, told[SYNAPSE])
    assert synapse.host.startswith("https://") and synapse.require("sparkPool") == "noria"
    costs = AzureConnection.parse(COSTS, told[COSTS])
    assert deployment.address(costs.require("scope")) == "resource_group.noria"
    assert deployment.address(costs.require("storageAccountId")) == 'storage_account.account["lake"]'
    for conn_id in set(told) - {SYNAPSE, "adls_default", COSTS}:
        connection = AzureConnection.parse(conn_id, told[conn_id])
        names = {w["name"] for w in deployment.of("machine_learning_workspace")}
        assert connection.require("workspace") in names
        assert connection.require("subscriptionId") and connection.require("resourceGroup")


def test_whoever_is_signed_in_at_a_laptop_takes_them_as_they_stand(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/azure.md says: they name Airflow's identity, and the variable passes it over."""
    setting = "AZURE_TOKEN_CREDENTIALS=AzureCliCredential"
    assert setting in DOCS.read_text()
    monkeypatch.setenv(*setting.split("="))
    for conn_id, text in deployment.outputs["connections"].items():
        credential: Any = AzureConnection.parse(conn_id, text).credential()
        assert [type(c).__name__ for c in credential.credentials] == ["AzureCliCredential"]


def documented_extras() -> dict[str, list[str]]:
    """Keys of `extra` for each connection, from the table in docs/azure.md."""
    found: dict[str, list[str]] = {}
    for conn_ids, key, *_ in table(DOCS, "Connections"):
        for conn_id in re.findall(r"`(\w+)`", conn_ids):
            found.setdefault(conn_id, []).append(key.strip("`"))
    return found


def test_airflow_takes_the_environment_as_it_stands(deployment: Deployment) -> None:
    from airflow.providers.microsoft.azure.secrets.key_vault import AzureKeyVaultBackend

    shell = ["bash", "-c", 'set -a; eval "$0"; exec env -0', deployment.outputs["environment"]]
    said = subprocess.run(shell, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True).stdout
    lines = dict(line.split("=", 1) for line in said.rstrip("\0").split("\0"))
    settings = Settings.from_env(lines, home=Path("/nowhere"))
    assert settings.profile == "azure" and settings.lake_url.startswith("abfss://lake@")
    assert lines["AIRFLOW__SECRETS__BACKEND"] == f"{AzureKeyVaultBackend.__module__}.{AzureKeyVaultBackend.__name__}"
    options = json.loads(lines["AIRFLOW__SECRETS__BACKEND_KWARGS"])
    assert set(options) <= set(inspect.signature(AzureKeyVaultBackend).parameters)
    backend = AzureKeyVaultBackend(**options)
    assert backend.variables_prefix is None and backend.config_prefix is None
    assert backend.managed_identity_client_id and backend.workload_identity_tenant_id, "the backend takes both or none"


KEY = "airflow-connections-noria-verdicts"
PROGRAMS = {
    "terraform": 'if [ "$3" = key_vault ]; then printf vault; else cat "$HERE/connections.json"; fi',
    "az": """printf "%s\\0" "$@" >>"$HERE/calls"; printf "\\0" >>"$HERE/calls"
        [ -e "$HERE/refuse" ] && { echo Forbidden >&2; exit 1; }
        case "$3" in
            list) [ -e "$HERE/key" ] && echo airflow-connections-noria-verdicts ;;
            show) cat "$HERE/key" ;;
            set) while [ "$#" -gt 0 ]; do
                if [ "$1" = --file ]; then stat -c %a "$2" >"$HERE/mode"; cp "$2" "$HERE/key"; fi
                shift
            done ;;
        esac; true""",
}


class Vault:
    """A key vault as `az` shows it to the script."""

    def __init__(self, folder: Path, script: Path) -> None:
        self.folder, self._script = folder, script
        for name, body in PROGRAMS.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        (folder / "connections.json").write_text("{}")

    def fill(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the script; what it and `az` said before is forgotten."""
        (self.folder / "calls").unlink(missing_ok=True)
        path = f"{self.folder}:{os.environ['PATH']}"
        environ = {**os.environ, "HERE": str(self.folder), "PATH": path, "TMPDIR": str(self.folder)}
        return subprocess.run([self._script, *words], env=environ, check=False, capture_output=True, text=True)

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each `az`."""
        return [call.split("\0") for call in (self.folder / "calls").read_text().rstrip("\0").split("\0\0")]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that sign verdicts."""
        from airflow.models.connection import Connection

        return Keyring.parse(Connection.from_json((self.folder / "key").read_text()).password).keys


@pytest.fixture
def vault(tf: Terraform, tmp_path: Path) -> Vault:
    return Vault(tmp_path, tf.folder / "fill_key_vault.sh")


def test_the_script_fills_the_vault_with_the_names_that_airflow_looks_for(vault: Vault) -> None:
    from airflow.providers.microsoft.azure.secrets.key_vault import AzureKeyVaultBackend

    connections = {"adls_default": '{"conn_type":"adls","extra":{"a":"it\'s $HOME\\t"}}', "azureml_default": "{}"}
    (vault.folder / "connections.json").write_text(json.dumps(connections))
    assert vault.fill().returncode == 0
    calls = [call for call in vault.calls if "--value" in call]
    seen = {call[call.index("--name") + 1]: call[call.index("--value") + 1] for call in calls}
    assert all(call[:3] == ["keyvault", "secret", "set"] and "vault" in call for call in calls)
    assert seen == {AzureKeyVaultBackend.build_path("airflow-connections", i): text for i, text in connections.items()}
    assert AzureKeyVaultBackend.build_path("airflow-connections", VERDICTS) == KEY


def test_the_script_makes_the_key_that_signs_verdicts_once_and_shows_it_to_nobody(vault: Vault) -> None:
    said = vault.fill()
    assert said.returncode == 0, said.stderr
    (key,) = vault.keys
    assert (vault.folder / "mode").read_text() == "600\n"
    assert key not in said.stdout + said.stderr + str(vault.calls)
    assert {file.name for file in vault.folder.iterdir()} == {*PROGRAMS, "connections.json", "calls", "key", "mode"}
    assert vault.fill().returncode == 0
    assert vault.keys == (key,)


def test_a_new_key_signs_and_the_old_ones_verify(vault: Vault) -> None:
    vault.fill()
    before = vault.keys
    assert vault.fill("--new-verdicts-key").returncode == 0
    fresh, *others = vault.keys
    assert fresh not in before and tuple(others) == before


def test_a_vault_that_refuses_to_tell_loses_no_key(vault: Vault) -> None:
    vault.fill()
    before = vault.keys
    (vault.folder / "refuse").touch()
    for words in ((), ("--new-verdicts-key",)):
        said = vault.fill(*words)
        assert said.returncode != 0 and "Forbidden" in said.stderr
        assert not any("set" in call for call in vault.calls)
    assert vault.keys == before
    assert vault.fill("--force").returncode == 2


def test_only_airflow_may_read_the_key_that_signs_verdicts(deployment: Deployment) -> None:
    """Jobs that train cannot promote: their identity has no role on the vault of the connections."""
    vault = next(v for v in deployment.of("key_vault") if v["name"] == deployment.outputs["key_vault"])
    roles = [
        (deployment.address(r["principal_id"]), r["role_definition_name"])
        for r in deployment.of("role_assignment")
        if r["scope"] == vault["id"]
    ]
    assert ("user_assigned_identity.airflow", "Key Vault Secrets User") in roles
    assert not [who for who, _ in roles if "jobs" in who or "synapse" in who]
