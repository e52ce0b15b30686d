"""A model's file as an MLflow model, which MLflow and Azure ML read and serve without Noria."""

from __future__ import annotations

import hashlib
import platform
import shutil
from importlib.metadata import version as installed_version
from pathlib import Path

from noria.errors import InputError
from noria.records import Candidate

MODEL_FILE = "model.skops"
_REQUIREMENTS = "requirements.txt"
_CONDA = "conda.yaml"
_SERVED_BY = ("mlflow", "numpy", "pandas", "scikit-learn", "skops", "xgboost-cpu")


def package(folder: Path, model_file: Path, candidate: Candidate) -> None:
    """Put an MLflow model around the very bytes of the model file, so that `mlflow.pyfunc.load_model` reads it."""
    import mlflow.pyfunc
    from mlflow.models import Model

    requirements = [f"{package}=={installed_version(package)}" for package in _SERVED_BY]
    shutil.copyfile(model_file, folder / MODEL_FILE)
    (folder / _REQUIREMENTS).write_text("\n".join(requirements) + "\n")
    (folder / _CONDA).write_text(_conda())
    model = Model(model_uuid=candidate.model_sha256[:32])
    mlflow.pyfunc.add_to_model(model, loader_module="mlflow.sklearn", model_path=MODEL_FILE, conda_env=_CONDA)
    model.add_flavor(
        "sklearn",
        pickled_model=MODEL_FILE,
        sklearn_version=installed_version("scikit-learn"),
        serialization_format="skops",
        skops_trusted_types=list(candidate.model_types),
    )
    model.save(str(folder / "MLmodel"))


def checked(file: Path, expected: str, name: str, version: str) -> Path:
    """The file, if it has this SHA-256.

    Raises:
        InputError: It has another one.
    """
    with file.open("rb") as opened:
        got = hashlib.file_digest(opened, "sha256").hexdigest()
    if got != expected:
        raise InputError(f"model file of {name} version {version} has SHA-256 {got}", expected=expected)
    return file


def _conda() -> str:
    """Azure ML builds the environment of an endpoint from it."""
    lines = (
        "name: noria",
        "channels: [conda-forge]",
        "dependencies:",
        f"- python={platform.python_version()}",
        "- pip",
    )
    return "\n".join([*lines, f"- pip: [-r {_REQUIREMENTS}]", ""])
