import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import ParamValidationError

from noria.airflow.defaults import FORM_FIELDS
from noria.airflow.params import changes, retrain_params
from noria.errors import InputError
from noria.pipeline import Pipeline, load_pipeline, load_spec
from noria.settings import CHECKOUT

FOLDER = CHECKOUT / "include" / "pipelines"


@pytest.fixture(scope="module")
def students() -> Pipeline:
    return load_spec(FOLDER / "students" / "pipeline.yaml")


def form(pipeline: Pipeline, **values: object) -> dict[str, object]:
    params = ParamsDict(retrain_params(pipeline))
    for name, value in values.items():
        params[name] = value
    return params.validate()


def test_the_form_left_as_it_is_changes_nothing(students: Pipeline) -> None:
    defaults = form(students)
    assert changes(defaults, defaults) == ({}, None)


def test_changed_fields_change_the_spec(students: Pipeline) -> None:
    source = "file:///data/pupils.csv"
    values = form(students, training_share=0.9, trials=4, seed=1, source=source, dry_run=True)
    overrides, uri = changes(values, form(students))

    changed = load_pipeline("students", [FOLDER], overrides, uri)

    assert changed.holdout.share == 0.1
    assert (changed.tuning.trials, changed.seed, changed.gate.mode) == (4, 1, "dry_run")
    assert changed.source.uri == source


def test_a_dry_run_pipeline_can_be_run_in_earnest(students: Pipeline) -> None:
    dry = students.model_copy(update={"gate": students.gate.model_copy(update={"mode": "dry_run"})})
    assert changes(form(dry, dry_run=False), form(dry)) == ({"gate.mode": "enforce"}, None)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("training_share", 0, "less than or equal to the minimum of 0"),
        ("training_share", 1, "greater than or equal to the maximum of 1"),
        ("training_share", "much", "not of type 'number'"),
        ("trials", 0, "less than the minimum of 1"),
        ("trials", 2.5, "not of type 'integer'"),
        ("seed", -1, "less than the minimum of 0"),
        ("seed", 2**32, "greater than the maximum"),
        ("source", "ftp://example.org/a.csv", "does not match"),
        ("source", "", "does not match"),
        ("dry_run", "perhaps", "not of type 'boolean'"),
        ("overrides", "tuning.folds=5", "not of type 'object'"),
    ],
)
def test_a_bad_value_is_refused_before_the_run_begins(
    students: Pipeline, field: str, value: object, reason: str
) -> None:
    with pytest.raises(ParamValidationError, match=reason):
        form(students, **{field: value})


def test_any_value_of_the_spec_can_be_overridden(students: Pipeline) -> None:
    values = form(students, trials=4, overrides={"tuning.folds": 5, "gate.mode": "dry_run", "csv.delimiter": ";"})
    overrides, uri = changes(values, form(students))
    changed = load_pipeline("students", [FOLDER], overrides, uri)
    assert (changed.tuning.trials, changed.tuning.folds, changed.gate.mode) == (4, 5, "dry_run")
    assert changed.csv.delimiter == ";"


def test_the_form_has_the_fields_that_the_command_line_knows(students: Pipeline) -> None:
    assert set(form(students)) == {*FORM_FIELDS, "overrides"}


def test_a_field_that_the_form_does_not_have_is_refused(students: Pipeline) -> None:
    with pytest.raises(InputError, match=r"unknown trails; expected some of training_share, trials"):
        changes({**form(students), "trails": 4}, form(students))
