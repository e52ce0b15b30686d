"""Every family learns, both tasks, with nulls; and its model survives the way through a file."""

import hashlib
import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from noria.errors import InputError
from noria.models.build import build_model
from noria.models.examples import Split, load_split
from noria.models.families import FAMILIES
from noria.models.metrics import evaluate
from noria.models.store import dump_model, load_model, model_types
from noria.pipeline import EstimatorSpec, Pipeline
from tests.support.learning import ESTIMATORS, classification, fields, pipeline, write

TASKS = {"regression": pipeline(), "binary": classification("good"), "multiclass": classification("grade")}
LEAST = {"regression": 0.6, "binary": 0.85, "multiclass": 0.8}
PARAMS = {"random_forest": {"n_estimators": 30}, "gradient_boosting": {"max_iter": 30}, "xgboost": {"n_estimators": 30}}


def load(spec: Pipeline, folder: Path, *, seed: int = 1) -> Split:
    return load_split(write(fields(600, seed, null_share=0.05), folder / "t.parquet"), spec)


def test_the_table_holds_every_kind_of_the_schema() -> None:
    kinds = EstimatorSpec.model_json_schema()["properties"]["kind"]["enum"]
    assert sorted(FAMILIES) == sorted(kinds) == sorted(ESTIMATORS)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_learns_with_nulls_and_comes_back_from_its_file(kind: str, task: str, tmp_path: Path) -> None:
    split = load(TASKS[task], tmp_path)
    model = build_model(split.problem, kind, PARAMS.get(kind, {}), seed=5).fit(split.train.features, split.train.target)
    assert evaluate(split.problem, model, split.holdout)[split.problem.primary_metric] > LEAST[task]
    data = dump_model(model)
    file = tmp_path / "model.skops"
    file.write_bytes(data)
    again = load_model(file, hashlib.sha256(data).hexdigest())
    assert np.array_equal(again.predict(split.holdout.features), model.predict(split.holdout.features))
    if task != "regression":
        assert set(again.predict(split.holdout.features).tolist()) <= set(split.problem.classes)
    unseen = split.holdout.features.assign(soil="peat", farmer=None)
    assert len(again.predict(unseen)) == len(split.holdout)
    refit = build_model(split.problem, kind, PARAMS.get(kind, {}), seed=5).fit(split.train.features, split.train.target)
    assert dump_model(refit) == data


def test_the_same_model_is_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    write(fields(300, null_share=0.05), tmp_path / "t.parquet")
    script = (
        "import sys, hashlib; from pathlib import Path; from tests.support.learning import classification\n"
        "from noria.models.examples import load_split; from noria.models.build import build_model\n"
        "from noria.models.store import dump_model\n"
        "s = load_split(Path(sys.argv[1]), classification('grade'))\n"
        "m = build_model(s.problem, 'xgboost', {'n_estimators': 10}, 1).fit(s.train.features, s.train.target)\n"
        "print(hashlib.sha256(dump_model(m)).hexdigest())"
    )
    shas = {
        subprocess.run(
            [sys.executable, "-c", script, tmp_path / "t.parquet"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())}, check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(shas) == 1


def saved(folder: Path) -> Path:
    split = load(TASKS["regression"], folder)
    file = folder / "model.skops"
    file.write_bytes(
        dump_model(build_model(split.problem, "ridge", {}, 1).fit(split.train.features, split.train.target))
    )
    return file


def test_a_file_with_another_type_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    with zipfile.ZipFile(BytesIO(file.read_bytes())) as packed, zipfile.ZipFile(file, "w") as tampered:
        for name in packed.namelist():
            data = packed.read(name)
            if name == "schema.json":
                schema = json.loads(data)
                schema["content"]["content"]["memory"] = {
                    "__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode",
                    "content": {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {},
                                "key_types": {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode",
                                              "content": [], "__id__": 9001}, "__id__": 9002},
                    "__id__": 9000,
                }  # fmt: skip
                data = json.dumps(schema).encode()
            tampered.writestr(name, data)
    with pytest.raises(InputError, match=r"not trusted: subprocess\.Popen"):
        load_model(file)


def test_a_changed_or_broken_file_is_refused(tmp_path: Path) -> None:
    file = saved(tmp_path)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert model_types(file.read_bytes()) == ("numpy.dtype",)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(InputError, match="has SHA-256"):
        load_model(file, sha256)
    file.write_bytes(b"no zip")
    with pytest.raises(InputError, match="cannot be read"):
        load_model(file)
