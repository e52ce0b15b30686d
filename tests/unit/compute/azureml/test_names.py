"""Names of jobs."""

import re

import pytest

from noria.compute.azureml.names import LONGEST, attempt_name, safe_name


def test_a_name_that_fits_stays() -> None:
    assert safe_name("students-r1-train") == "students-r1-train"


@pytest.mark.parametrize(
    "text",
    [
        "students-manual__2026-11-21T00.00.00.1234+00.00-abcdef01-train",
        "p" * 100 + "-" + "r" * 180 + "-search-gradient_boosting",
        "Students-1-train",
        "-x-train",
        "é",
        "x" * 300,
    ],
)
def test_any_other_is_made_one_that_azure_ml_takes(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)
    assert len(attempt_name(name, 999)) <= LONGEST + 4
    assert safe_name(text) == name
    assert safe_name(f"{text}!") != name


def test_what_differs_only_in_what_is_cut_or_replaced_stays_apart() -> None:
    texts = ["a.b-train", "a:b-train", "a-b-train", "a" * 200 + "-train", "a" * 201 + "-train"]
    texts += ["s-Run-train", "s-run-train", "s-RUN-train"]
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert all(name.endswith("-train") for name in names)
    assert safe_name("Students-Run-Train").startswith("students-run-")


def test_a_further_attempt_has_a_number() -> None:
    assert [attempt_name("a", n) for n in (1, 2, 3)] == ["a", "a-2", "a-3"]
