"""Everything that Noria creates on Azure says whose it is."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest

from noria.azure import LAKE, ML, SYNAPSE
from noria.compute.azureml import AzureMLJobs, Partitions
from noria.compute.synapse import SynapseJobs
from noria.lake import open_lake
from noria.registry import open_azureml_registry
from noria.settings import Settings
from noria.verdicts import Keyring
from noria.workspace import job_name, job_tags
from tests.azure.twin.client import Twin
from tests.support.registering import judged_now

pytestmark = pytest.mark.slow


def resources(twin: Twin) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, name and properties of all that the twin's Azure ML has."""
    with sqlite3.connect(f"file:{twin.folder / 'ml' / 'resources.db'}?mode=ro", uri=True) as db:
        rows = db.execute(
            "select kind, name, body from resources where workspace like 'noria%' order by number"
        ).fetchall()
    return [(kind, name, json.loads(body)["properties"]) for kind, name, body in rows if "." not in kind]


def test_whatever_a_run_creates_bears_its_tags(twin: Twin, tmp_path: Path) -> None:
    twin.set("management", command="echo did it")
    twin.set("synapse", failure={"source": "System", "errorCode": "POOL", "message": "no"})
    settings = Settings.from_env({**twin.environment, "NORIA_LAKE_URL": twin.lake_url()}, home=tmp_path)
    name, lake = f"p{uuid.uuid4().hex[:8]}", open_lake(settings.lake_url, twin.connection(LAKE))
    keyring = Keyring.parse(json.loads(twin.environment["AIRFLOW_CONN_NORIA_VERDICTS"])["password"])
    judged = judged_now(open_azureml_registry(twin.connection(ML), keyring), tmp_path, name, "r1", keyring=keyring)
    run, jobs, spark = judged.run, AzureMLJobs(twin.connection(ML)), SynapseJobs(twin.connection(SYNAPSE))
    script = tmp_path / "job.py"
    script.write_text("")

    ids = {
        jobs.submit_stage("train", run, settings, name=job_name(run, "train"), tags=job_tags(run, "train")),
        jobs.submit_partitions(
            Partitions(lake.url("p")), run, settings, name=job_name(run, "many"), tags=job_tags(run, "many")
        ),
    }
    judged.register(open_azureml_registry(twin.connection(ML), keyring))
    batch = spark.submit(job_name(run, "explore"), script, [], lake=lake, tags=job_tags(run, "explore"))

    assert spark._client.get(batch).tags == job_tags(run, "explore")
    made = resources(twin)
    own = [(kind, found, facts) for kind, found, facts in made if found in ids or found == name]
    assert sorted(kind for kind, _, _ in own) == ["jobs", "jobs", "models"]
    for kind, found, facts in own:
        wanted = {"noria:pipeline": name, "noria:run": "r1"}
        assert wanted.items() <= facts["tags"].items() and facts["tags"]["noria:stage"], f"{kind} {found}"
        for step in (facts.get("jobs") or {}).values():
            assert wanted.items() <= step["tags"].items(), f"a step of {found}"
    (used,) = {facts["environmentId"].split("/")[-3] for _, _, facts in own if facts.get("environmentId")}
    others = {
        kind: facts.get("tags") or {}
        for kind, found, facts in made
        if kind in ("components", "codes") or (kind == "environments" and found == used)
    }
    assert others.pop("components") == job_tags(run, "many")
    assert others == {"codes": {}, "environments": {"noria:component": "jobs"}}, "the SDK sends no tags with code"
