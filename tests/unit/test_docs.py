"""The documents against the code: paths, settings, keys, exit codes, links, the workflow."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from noria.azure import CONNECTIONS, AzureConnection
from noria.azure.services import Service
from noria.cli import build_parser
from noria.doctor.azure.connections import NEEDED
from noria.errors import ExitCode
from noria.models.families import FAMILIES
from noria.pipeline import METRICS, ApprovalPolicy, EstimatorSpec, Freshness, Gate, Limit, Pipeline, Slice, Threshold
from noria.pipeline.base import Model
from noria.pipeline.policy import contradictions
from noria.records import STAGES
from noria.settings import Settings
from noria.verdicts import CONNECTION as VERDICTS
from tests.support import compose
from tests.support.tables import table

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("*.md"), *(ROOT / "include" / "pipelines").glob("*/*.md")]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(page: str, heading: str) -> list[str]:
    """First cells of the table below a heading."""
    part = page.partition(f"## {heading}\n")[2]
    part = re.split(r"(?m)^#+ ", part, maxsplit=1)[0]
    return [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("|")][2:]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not re.match(r"https?://|mailto:", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_house_is_drawn_as_it_stands() -> None:
    tree = text("docs/architecture.md").partition("## The house\n")[2].split("```")[1]
    drawn: set[Path] = set()
    folders: list[tuple[int, Path]] = [(-1, ROOT)]
    for line in filter(str.strip, tree.splitlines()):
        name = line.split()[0]
        if "<" in name:
            continue
        depth = len(line) - len(line.lstrip())
        while folders[-1][0] >= depth:
            folders.pop()
        path = folders[-1][1] / name
        assert path.exists(), f"{name} is drawn and does not exist"
        drawn.add(path)
        if path.is_dir():
            folders.append((depth, path))
    library = ROOT / "include" / "noria"
    there = {p for p in library.iterdir() if p.name not in ("__init__.py", "__pycache__") and p.suffix != ".typed"}
    assert there <= drawn, f"not drawn: {sorted(p.name for p in there - drawn)}"
    assert {*(ROOT / "dags").glob("*.py"), *(ROOT / "spark_jobs").glob("*.py")} <= drawn


def test_stages_are_told_in_their_order() -> None:
    assert rows(text("docs/architecture.md"), "How a run flows") == [f"`{stage}`" for stage in STAGES]


def test_every_setting_is_documented_and_read() -> None:
    read = set(re.findall(r'"(NORIA_[A-Z_]+)"', text("include/noria/settings.py")))
    assert {name.strip("`") for name in rows(text("docs/operations.md"), "Settings")} == read


def test_every_connection_that_the_code_names_is_documented() -> None:
    code = "\n".join(p.read_text(encoding="utf-8") for p in (ROOT / "include" / "noria").rglob("*.py"))
    used = set(re.findall(r'"([a-z_]+_default|[a-z]+_production|azure_costs|noria_verdicts)"', code))
    assert {name.strip("`") for name in rows(text("docs/operations.md"), "Connections")} == used


AZURE_KEY = re.compile(
    r"""(?:[cC]onnection(?:\.extra)?\.(?:get|require)\(|\bself\.(?:get|require)\(|\bvalue\(|_whole\(connection,\s)
        ['"](\w+)['"]""",
    re.VERBOSE,
)


def keys_of_azure_connections() -> set[str]:
    """Keys of `extra` that the code reads."""
    library = ROOT / "include" / "noria"
    folders = [library / name for name in ("azure", "compute", "doctor", "lake", "registry")]
    code = "\n".join(p.read_text(encoding="utf-8") for folder in folders for p in folder.rglob("*.py"))
    loops = re.findall(r'for name in \(("managed_identity_client_id"[^)]*)\)', code)
    return set(AZURE_KEY.findall(code)) | {key for loop in loops for key in re.findall(r'"(\w+)"', loop)}


def test_every_key_of_an_azure_connection_is_documented_and_no_other() -> None:
    page = ROOT / "docs" / "azure.md"
    told = table(page, "Connections")
    assert {key.strip("`") for _, key, *_ in told} == keys_of_azure_connections()
    needed: dict[str, set[str]] = {conn_id: set() for conn_id in CONNECTIONS}
    for conn_ids, key, mark, *_ in told:
        for conn_id in re.findall(r"`(\w+)`", conn_ids):
            needed[conn_id] |= {key.strip("`")} if mark == "N" else set()
    assert needed == {conn_id: set(keys) - {"host"} for conn_id, keys in NEEDED.items()}


def test_the_roles_that_errors_name_are_documented() -> None:
    told = {row[1] for row in table(ROOT / "docs" / "azure.md", "Roles") if row[0] == "`airflow`"}
    assert told == {service.role for service in Service}


def test_the_azure_example_is_read_as_it_stands() -> None:
    given = {name: value.strip("'") for name, value in compose.read_env(ROOT / ".env.azure.example").items()}
    settings = Settings.from_env(given, home=Path("/nowhere"))
    assert settings.profile == "azure" and settings.lake_url.startswith("abfss://")
    for conn_id in CONNECTIONS:
        connection = AzureConnection.parse(conn_id, settings.connection_text(conn_id))
        assert set(connection.extra) <= keys_of_azure_connections()
        assert all(connection.host if key == "host" else connection.require(key) for key in NEEDED[conn_id])
    used = (*CONNECTIONS, VERDICTS)
    assert set(given) == {"NORIA_PROFILE", "NORIA_LAKE_URL", *(f"AIRFLOW_CONN_{c.upper()}" for c in used)}


def test_the_login_by_entra_is_told_with_the_names_in_use() -> None:
    page = text("docs/azure.md").partition("## Login to Airflow by Entra ID\n")[2]
    names = {name for line in re.findall(r"(?m)^\| (`[A-Z_`, ]+`) \|", page) for name in re.findall(r"`(\w+)`", line)}
    example = text(".env.example").partition("# Login to Airflow")[2]
    assert names == set(re.findall(r"(?m)^([A-Z_]+)=", example))
    roles = {role["value"] for role in json.loads(text("docker/entra/app-roles.json"))}
    assert roles == set(
        re.findall(r'"(\w+)"', re.search(r"for role in \((.*)\)", text("docker/webserver_config.py"))[1])
    )  # type: ignore[index]
    assert all(f" {role}" in page for role in roles)


def test_exit_codes_are_documented() -> None:
    assert [int(code) for code in rows(text("docs/operations.md"), "Exit codes")] == sorted(ExitCode)


def keys(model: type[Model], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Model):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_key_of_a_pipeline_is_documented_and_no_other() -> None:
    page = text("docs/pipelines.md")
    assert set(re.findall(r"`([a-z_.]+)`", " ".join(rows(page, "Keys")))) == set(keys(Pipeline))
    kinds = EstimatorSpec.model_json_schema()["properties"]["kind"]["enum"]
    for word in (*METRICS, *kinds):
        assert f"`{word}`" in page


def test_every_key_below_a_rule_of_the_gate_is_documented_and_no_other() -> None:
    told = {
        key: set(re.findall(r"`([a-z_]+)`", cells))
        for keys_, cells in table(ROOT / "docs" / "pipelines.md", "The gate")
        for key in re.findall(r"`gate\.(\w+)`", keys_)
    }
    models = {"thresholds": Threshold, "slices": Slice, "calibration": Limit, "limits": Limit}
    models |= {"freshness": Freshness, "approval": ApprovalPolicy}
    assert told == {key: set(model.model_fields) for key, model in models.items()}


def test_the_example_of_a_policy_is_read_as_it_stands() -> None:
    example = text("docs/pipelines.md").partition("### The gate\n")[2].partition("```yaml\n")[2].partition("```")[0]
    gate = Gate.model_validate(YAML(typ="safe").load(example)["gate"])
    assert not list(contradictions(gate, [t.metric for t in gate.thresholds])) and gate.approval is not None


def test_every_family_is_documented_with_what_it_searches() -> None:
    page = text("docs/pipelines.md").partition("### Estimators\n")[2]
    told = {
        kind: set(re.findall(r"`(\w+)`", cells)) for kind, cells in re.findall(r"(?m)^\| `(\w+)` \|.*\|(.*)\|$", page)
    }
    searched = {k: {name for space in f.search.values() for name in space} for k, f in FAMILIES.items()}
    del told["kind"]  # the heading
    assert told == searched


def test_defaults_in_the_table_are_those_of_the_code() -> None:
    page = text("docs/pipelines.md").partition("## Keys\n")[2]
    for key, shown in re.findall(r"(?m)^\| `([a-z_.]+)` \| ([\d.]+) \|", page):
        model: type[Model] = Pipeline
        *parents, last = key.split(".")
        for parent in parents:
            model = model.model_fields[parent].annotation  # type: ignore[assignment]
        assert float(shown) == model.model_fields[last].default, key


COMMAND = re.compile(r"(?m)(?:^(?:\$ )?|`)(?:\.venv/bin/)?noria ([a-z]+)([^`\n]*)")


def test_the_commands_that_documents_show_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", text("Makefile")))
    (commands,) = (a.choices for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for name, arguments in COMMAND.findall(content):
            assert name in commands, f"{page.name}: noria {name}"
            shown = set(re.findall(r"(?<!\S)\[?(--[a-z]+)", arguments.partition("#")[0]))
            if name != "bench":  # its measurements have options of their own
                assert shown <= set(commands[name]._option_string_actions), f"{page.name}: noria {name}{arguments}"
        assert set(re.findall(r"(?m)^make ([a-z]+)|`make ([a-z]+)", content)) <= {
            pair for t in targets for pair in ((t, ""), ("", t))
        }, page.name


def test_the_workflow_runs_the_same_tests_on_every_supported_python_with_pinned_actions() -> None:
    workflow = YAML(typ="safe").load(text(".github/workflows/test.yml"))
    job = workflow["jobs"]["test"]
    minors = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', text("pyproject.toml"))
    assert minors
    expected = [f"3.{minor}" for minor in range(int(minors[1]), int(minors[2]))]
    assert job["strategy"]["matrix"]["python"] == expected
    assert [s["run"] for s in job["steps"] if "run" in s] == ["make test"]
    assert "make test" in text(".ci/run")
    for step in job["steps"]:
        assert re.search(r"@[0-9a-f]{40}$", step.get("uses", "@" + "0" * 40))
    assert workflow["permissions"] == {"contents": "read"}


def test_compose_and_the_twin_have_the_same_azurite() -> None:
    wanted = json.loads(text("tools/azurite/package.json"))["dependencies"]["azurite"]
    assert re.findall(r"azure-storage/azurite:(\S+)", text("docker-compose.yaml")) == [wanted]
