"""The environment of a job: an image and the exact versions of requirements/azureml.txt, named by their hash."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from noria.settings import CHECKOUT

if TYPE_CHECKING:
    from azure.ai.ml.entities import Environment

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:20250601.v1"
PYTHON = "3.11"
NAME = "noria"
LOCK = CHECKOUT / "requirements" / "azureml.txt"


def packages() -> list[str]:
    """What is installed in the image, such as "numpy==2.4.6"."""
    return re.findall(r"^[A-Za-z0-9._-]+==[^ \\\n]+", LOCK.read_text(encoding="utf-8"), re.MULTILINE)


@cache
def conda_file() -> dict[str, Any]:
    """The environment as conda takes it."""
    return {
        "name": NAME,
        "channels": ["conda-forge"],
        "dependencies": [f"python={PYTHON}", "pip", {"pip": packages()}],
    }


@cache
def version() -> str:
    """Hash of all that the environment is made of; another one is another environment, built once."""
    return hashlib.sha256(json.dumps([IMAGE, conda_file()]).encode()).hexdigest()[:16]


def environment() -> Environment:
    """The environment, as the SDK registers it."""
    from azure.ai.ml.entities import Environment

    return Environment(
        name=NAME,
        version=version(),
        image=IMAGE,
        conda_file=conda_file(),
        tags={"noria:component": "jobs"},  # every run's jobs share it
        description="What Noria's remote jobs run in: made of requirements/azureml.txt.",
    )
