"""infra/ as Terraform sees it: format, every argument against the provider's schema, refusals that show it looks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.azurerm.provider import schemas
from tests.support.terraform import INFRA, Terraform, terraform


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    with terraform(tmp_path_factory.mktemp("terraform")) as found:
        yield found


@pytest.fixture
def tf(original: Terraform, tmp_path: Path) -> Terraform:
    return original.copy(tmp_path / "infra")


def test_the_format_is_terraforms(tf: Terraform) -> None:
    done = tf.run("fmt", "-check", "-recursive", "-diff")
    assert done.returncode == 0, done.stdout
    main = tf.folder / "main.tf"
    main.write_text(main.read_text().replace("  location = var.location", " location=var.location"))
    assert tf.run("fmt", "-check", "-recursive").returncode != 0


def test_every_argument_fits_the_providers_schema(tf: Terraform) -> None:
    assert tf.errors() == []


MISTAKES = {
    "arguments": [
        ("storage.tf", "shared_access_key_enabled ", "shared_acces_key_enabled ", "Unsupported argument"),
        ("roles.tf", "jobs.principal_id", "jobs.princpal_id", "Unsupported attribute"),
    ],
    "blocks": [
        ("synapse.tf", "  auto_pause {", "  auto_pauze {", "Unsupported block type"),
        ("roles.tf", "storage_container.container[", "storage_container.contaner[", "undeclared resource"),
    ],
    "both": [
        ("machine_learning.tf", "  scale_settings {", "  dynamic scale_settings {", "Missing required argument"),
        ("machine_learning.tf", "scale_settings {", "scale_settings {\n max_nodes = 1", "Unsupported argument"),
        ("synapse.tf", "var.spark_max_nodes", "var.spark_nodes", "undeclared input variable"),
    ],
    "counts": [
        ("synapse.tf", "node_size_family ", "#", 'argument "node_size_family" is required'),
        ("machine_learning.tf", "  identity {", "  identity {}\n  identity {", "Too many identity blocks"),
    ],
    "types": [("machine_learning.tf", "var.compute_max_nodes", '"some"', "a number is required")],
}
"""Together what Terraform tells together; it has several looks, and stops at the first that finds something."""


@pytest.mark.parametrize("kind", MISTAKES)
def test_what_does_not_fit_is_refused(tf: Terraform, kind: str) -> None:
    for file, old, new, _ in MISTAKES[kind]:
        path = tf.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
    found = tf.errors()
    assert [error for *_, error in MISTAKES[kind] if not any(error in said for said in found)] == [], found


@pytest.mark.parametrize(
    "wrong",
    [
        [
            ("environment", '"test"', "environment is dev or prod."),
            ("suffix", '"Ab"', "suffix is 3 to 6 lower-case"),
            ("allowed_ip_ranges", '["0.0.0.0/0"]', "must not be the whole internet"),
            ("storage_replication", '"NONE"', "LRS, ZRS or GRS"),
            ("spark_max_nodes", "2", "spark_max_nodes is 3 to 200"),
            ("compute_vm_priority", '"Spot"', "Dedicated or LowPriority"),
            ("log_retention_days", "7", "log_retention_days is 30"),
            ("budget_emails", "[]", "budget_emails names at least one"),
        ],
        [("allowed_ip_ranges", "[]", "allowed_ip_ranges is a list")],
    ],
    ids=["all", "no range"],
)
def test_wrong_parameters_are_refused_before_anything_is_made(tf: Terraform, wrong: list[tuple[str, str, str]]) -> None:
    file = tf.folder / "environments" / "dev.tfvars"
    for variable, value, _ in wrong:
        changed, count = re.subn(rf"(?m)^{variable} +=.*$", f"{variable} = {value}", file.read_text())
        assert count == 1
        file.write_text(changed)
    done = tf.run("test", "-no-color", "-var-file=environments/dev.tfvars")
    assert done.returncode != 0
    said = re.sub(r"[\s│]+", " ", done.stdout + done.stderr)
    assert [error for *_, error in wrong if error not in said] == [], said


def test_both_parameter_files_are_complete_and_set_nothing_else() -> None:
    text = (INFRA / "variables.tf").read_text()
    blocks = dict(re.findall(r'(?ms)^variable "(\w+)" \{\n(.*?)^\}', text))
    required = {name for name, body in blocks.items() if not re.search(r"(?m)^  default +=", body)}
    for environment in ("dev", "prod"):
        content = (INFRA / "environments" / f"{environment}.tfvars").read_text()
        assert set(re.findall(r"(?m)^(\w+) +=", content)) == required
        assert re.search(rf'(?m)^environment += "{environment}"$', content)
    assert all("description" in body for body in blocks.values())
    used = "".join(file.read_text() for file in INFRA.glob("*.tf"))
    assert set(re.findall(r"\bvar\.(\w+)", used)) == set(blocks)


def test_the_committed_schema_has_exactly_the_types_in_use() -> None:
    text = "".join(file.read_text() for file in INFRA.glob("*.tf"))
    found = schemas()
    assert set(found["resource_schemas"]) == set(re.findall(r'(?m)^resource "(\w+)"', text))
    assert set(found["data_source_schemas"]) == set(re.findall(r'(?m)^data "(\w+)"', text))
