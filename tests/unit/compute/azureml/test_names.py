"""Names of jobs: what Azure ML takes, and never the same for two runs."""

from __future__ import annotations

import re

import pytest

from noria.compute.azureml.names import LONGEST, safe_name


@pytest.mark.parametrize(
    "text",
    [
        "students-manual__2026-11-21T07-53-05+00-00-aba719ba-train",
        "Students-1-train",
        "a.b",
        "x" * 200,
        "-",
        "",
        "å-train",
    ],
)
def test_any_text_becomes_a_name_that_the_sdk_leaves_as_it_is(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)
    assert len(name) <= LONGEST


def test_plain_name_stays_as_it_is() -> None:
    assert safe_name("students-run_1-train") == "students-run_1-train"


def test_names_that_differ_only_in_what_is_replaced_stay_apart() -> None:
    texts = ["s-Run-train", "s-run-train", "s-RUN-train", "s-r.n-train", "s-r+n-train"]
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert all(name.endswith("-train") for name in names)
