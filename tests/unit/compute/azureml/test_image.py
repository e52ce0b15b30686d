"""What a remote job's image holds: exact versions, those of this checkout wherever they decide what a model is."""

import re
import subprocess
import sys

from noria.compute.azureml import image
from noria.settings import CHECKOUT

APART = {
    "azure-storage-blob", "fastapi", "mlflow-skinny", "opentelemetry-api", "opentelemetry-proto", "opentelemetry-sdk",
    "opentelemetry-semantic-conventions", "pytz",
}  # fmt: skip
"""What azureml-mlflow asks for in another version; no model and no lake depends on it (adlfs takes either)."""


def locked() -> dict[str, set[str]]:
    """Package -> versions in requirements.txt; some have one for each Python."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^ \\;]+)", (CHECKOUT / "requirements.txt").read_text(), re.M):
        found.setdefault(name, set()).add(version)
    return found


def in_the_image() -> dict[str, str]:
    return dict(package.split("==") for package in image.packages())


def test_versions_are_those_of_the_checkout() -> None:
    here, there = locked(), in_the_image()
    differing = {name for name, version in there.items() if name in here and version not in here[name]}
    assert differing == APART
    for name in ("scikit-learn", "xgboost-cpu", "skops", "numpy", "scipy", "pandas", "pyarrow", "optuna", "dask"):
        assert there[name] in here[name]


def test_a_job_imports_only_what_is_in_the_image() -> None:
    """All that the modules of a job import, late imports included; azure.ai.ml is for whoever submits."""
    code = """
import ast, importlib.metadata, sys
import noria.jobs.train, noria.jobs.dask_node, noria.jobs.trial, noria.jobs.partitions, noria.lake.abfs
from noria.models import families, labelled
names = set()
for module in [m for n, m in sys.modules.items() if n.startswith("noria") and getattr(m, "__file__", None)]:
    for node in ast.walk(ast.parse(open(module.__file__).read())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
of = importlib.metadata.packages_distributions()
for name in sorted(names):
    top = name.partition(".")[0]
    if top in of and top != "noria" and not name.startswith("azure.ai"):
        print(name, *({"azure-" + "-".join(name.split(".")[1:3]), "azure-core"} if top == "azure" else of[top]))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    there = {_normal(name) for name in in_the_image()}
    assert "sklearn" in said
    assert [line for line in said.splitlines() if not there & {_normal(name) for name in line.split()[1:]}] == []


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_another_version_makes_another_environment() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", image.version())
    dependencies = image.conda_file()["dependencies"]
    assert dependencies[-1] == {"pip": image.packages()}
    assert len(image.packages()) > 50


def test_the_lock_is_where_jobs_are_submitted_from() -> None:
    assert "!requirements/azureml.txt" in (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "requirements/azureml.txt ./requirements/" in (CHECKOUT / "docker" / "Dockerfile").read_text()
