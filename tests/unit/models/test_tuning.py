"""Tuning and evaluation: the budget, what they may see, what happens when trials fail."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from noria.errors import InputError, SpecError
from noria.models.examples import Examples, Split, load_split
from noria.models.holdout import among, in_holdout, row_hashes
from noria.models.space import check_estimators
from noria.models.training import fit_all
from noria.models.tuning import Search, Training, TrialJob, run_trial, tune
from noria.pipeline import EstimatorSpec, Pipeline
from tests.support.learning import InlineWorkers, classification, fields, pipeline, write

RIDGE: dict[str, Any] = {"kind": "ridge", "search": {"alpha": {"low": 0.01, "high": 100, "log": True}}}
FOREST: dict[str, Any] = {
    "kind": "random_forest",
    "params": {"n_estimators": 5},
    "search": {"max_depth": {"low": 2, "high": 6, "integer": True}, "criterion": {"choices": ["squared_error"]}},
}


def spec(*estimators: dict[str, Any], trials: int = 6, **changes: Any) -> Pipeline:
    tuning = {"trials": trials, "folds": 3, **changes.pop("tuning", {})}
    return pipeline(estimators=list(estimators), tuning=tuning, **changes)


def test_new_holdout_rows_change_nothing_but_the_holdout(tmp_path: Path) -> None:
    """Neither trials nor the choice can depend on rows of the holdout: with twice as many, all else stays."""
    chosen = spec(RIDGE, FOREST, {"kind": "linear"})
    old, more = fields(300, seed=1), fields(300, seed=2)
    held = in_holdout(row_hashes(more, chosen.columns, chosen.holdout.salt), chosen.holdout.share)
    grown = pa.concat_tables([old, more.filter(pa.array(held))])
    small, large = (load_split(write(t, tmp_path / "t.parquet"), chosen) for t in (old, grown))
    assert len(large.holdout) == len(small.holdout) + held.sum() and len(large.train) == len(small.train)
    first, second = fit_all(small, chosen, InlineWorkers()), fit_all(large, chosen, InlineWorkers())
    assert first.model == second.model
    assert [(c.name, c.params, c.cv) for c in first.contenders] == [(c.name, c.params, c.cv) for c in second.contenders]
    assert first.chosen.holdout != second.chosen.holdout


def test_tuning_is_given_training_rows_alone(tmp_path: Path) -> None:
    chosen = spec(RIDGE)
    split = load_split(write(fields(300), tmp_path / "t.parquet"), chosen)
    workers = InlineWorkers()
    fit_all(split, chosen, workers)
    (training,) = [value for value in workers.shared if isinstance(value, Training)]
    seen = {bytes(h) for h in training.rows.hashes}
    assert seen.isdisjoint(bytes(h) for h in split.holdout.hashes)
    assert not in_holdout(training.rows.hashes, chosen.holdout.share).any()


@pytest.mark.parametrize("shown", ["nothing", "in the search", "in the fit"])
def test_what_was_seen_is_what_was_given_and_not_what_the_rule_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    """A search, or a fit, that is given rows of the holdout leaves their hashes too."""
    chosen = spec(RIDGE, trials=1)
    split = load_split(write(fields(300), tmp_path / "t.parquet"), chosen)
    some = split.holdout.take(np.arange(7))

    def more(rows: Examples) -> Examples:
        features = pd.concat([rows.features, some.features])
        return Examples(features, np.append(rows.target, some.target), np.concatenate([rows.hashes, some.hashes]))

    if shown == "in the search":
        monkeypatch.setattr("noria.models.training.Training", lambda problem, rows: Training(problem, more(rows)))
    workers = InlineWorkers()
    if shown == "in the fit":
        share = workers.share
        peeking = Split(split.problem, more(split.train), split.holdout)
        monkeypatch.setattr(workers, "share", lambda value: share(peeking if isinstance(value, Split) else value))
    seen = fit_all(split, chosen, workers).seen
    given = np.concatenate([split.train.hashes, some.hashes]) if shown != "nothing" else split.train.hashes
    assert [bytes(h) for h in seen] == sorted({bytes(h) for h in given})
    assert among(split.holdout.hashes, seen).sum() == (0 if shown == "nothing" else 7)


@pytest.mark.parametrize(
    ("trials", "expected"),
    [(9, {"linear": 1, "ridge": 4, "random_forest": 4}), (8, {"linear": 1, "ridge": 4, "random_forest": 3}),
     (1, {"linear": 1, "ridge": 1, "random_forest": 1})],
)  # fmt: skip
def test_the_budget_is_divided_over_the_families(tmp_path: Path, trials: int, expected: dict[str, int]) -> None:
    chosen = spec({"kind": "linear"}, RIDGE, FOREST, trials=trials)
    trained = fit_all(load_split(write(fields(120), tmp_path / "t.parquet"), chosen), chosen, InlineWorkers())
    assert {c.name: c.trials for c in trained.contenders if c.name != "dummy"} == expected
    assert trained.trials == sum(expected.values())


def test_fixed_and_searched_parameters_reach_the_model_with_their_types(tmp_path: Path) -> None:
    chosen = spec(FOREST)
    trained = fit_all(load_split(write(fields(120), tmp_path / "t.parquet"), chosen), chosen, InlineWorkers())
    params = trained.chosen.params
    assert params["n_estimators"] == 5 and params["criterion"] == "squared_error"
    assert isinstance(params["max_depth"], int) and 2 <= params["max_depth"] <= 6


@pytest.mark.parametrize("spec_of", [pipeline, lambda **c: classification("grade", **c)], ids=["regression", "classes"])
def test_baselines_contenders_and_curve(tmp_path: Path, spec_of: Any) -> None:
    chosen = spec_of(estimators=[{"kind": "ridge"}, {"kind": "xgboost", "params": {"n_estimators": 20}}])
    split = load_split(write(fields(400, null_share=0.05), tmp_path / "t.parquet"), chosen)
    trained = fit_all(split, chosen, InlineWorkers())
    assert [c.name for c in trained.contenders] == ["ridge", "xgboost", "dummy", "linear"]
    assert set(trained.baselines) == {"dummy", "linear"}
    metric = chosen.primary_metric
    assert trained.chosen.holdout[metric] > trained.baselines["dummy"][metric]
    assert trained.chosen.cv[metric].mean == max(c.cv[metric].mean for c in trained.contenders if c.trials)
    assert [p.share for p in trained.learning_curve] == [0.5, 0.9]
    assert trained.learning_curve[0].rows == pytest.approx(0.5 * len(split.train), abs=2)
    assert all(set(p.metrics) == set(chosen.metrics) and p.metrics[metric].sd > 0 for p in trained.learning_curve)


def test_a_failing_trial_is_named_and_the_others_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = {"kind": "random_forest", "params": {"n_estimators": 5}, "search": {"max_depth": {"choices": [-1, 3]}}}
    chosen = spec(broken, {"kind": "linear"}, trials=9)
    split = load_split(write(fields(120), tmp_path / "t.parquet"), chosen)
    with caplog.at_level(logging.WARNING):
        trained = fit_all(split, chosen, InlineWorkers())
    assert "trial of random_forest failed with n_estimators 5, max_depth -1" in caplog.text
    assert {c.name: c.params for c in trained.contenders}["random_forest"]["max_depth"] == 3


def test_no_trial_works(tmp_path: Path) -> None:
    chosen = spec({"kind": "ridge", "params": {"alpha": -1}, "search": {}})
    split = load_split(write(fields(120), tmp_path / "t.parquet"), chosen)
    with pytest.raises(InputError, match=r"no trial of any estimator worked.*alpha"):
        fit_all(split, chosen, InlineWorkers())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only trials move: each takes a second."""
    now = [0.0]

    def run(training: Training, job: TrialJob) -> tuple[float, float]:
        now[0] += 1
        return run_trial(training, job)

    for module in ("noria.models.tuning", "tests.support.learning"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("noria.models.tuning.run_trial", run)
    return now


@pytest.mark.parametrize(
    ("bound", "cause"),
    [
        ({"max_vcpu_seconds": 9.0}, "cap"),  # of four cores: two seconds and a quarter, in the midst of a round
        ({"timeout_seconds": 2.25}, "time"),
        ({"timeout_seconds": 2.25, "max_vcpu_seconds": 1000}, "time"),
    ],
)
def test_a_search_ends_within_one_trial_of_its_bound_and_keeps_the_best(
    tmp_path: Path, clock: list[float], caplog: pytest.LogCaptureFixture, bound: dict[str, float], cause: str
) -> None:
    split = load_split(write(fields(120), tmp_path / "t.parquet"), spec(RIDGE))
    workers = InlineWorkers()
    workers.cores = 4

    def search(**tuning: Any) -> Search:
        chosen = spec(RIDGE, FOREST, trials=6, tuning=tuning)
        shared = workers.share(Training(split.problem, split.train))
        return tune(split.problem, shared, workers, estimators=chosen.estimators, tuning=chosen.tuning, seed=1)

    found = search(**bound)
    assert clock == [3.0], "the trial that ran when the bound was reached is the last one"
    assert found.stopped_by == cause
    assert {t.kind: t.trials for t in found.best} == {"ridge": 2, "random_forest": 1}
    assert (
        f"tuning stops after 3 of 6 trials: {'4 cores hold 9 vCPU' if cause == 'cap' else '2.25 seconds'}"
        in caplog.text
    )
    unbound = search()
    assert clock == [9.0] and unbound.stopped_by is None
    assert search(max_vcpu_seconds=1e6).best == unbound.best


def test_cores_that_come_during_a_search_count_against_its_cap(tmp_path: Path, clock: list[float]) -> None:
    """Forty vCPU-seconds are ten seconds of four cores; from the third second on there are forty."""
    split = load_split(write(fields(120), tmp_path / "t.parquet"), spec(RIDGE))

    class Growing(InlineWorkers):
        @property
        def cores(self) -> int:  # type: ignore[override]
            return 4 if clock[0] < 3 else 40

    workers, chosen = Growing(), spec(RIDGE, trials=20, tuning={"max_vcpu_seconds": 40})
    shared = workers.share(Training(split.problem, split.train))
    found = tune(split.problem, shared, workers, estimators=chosen.estimators, tuning=chosen.tuning, seed=1)
    assert (clock, found.stopped_by) == ([4.0], "cap"), "the round in which they came is the last one"


def test_one_trial_that_works_always_counts(tmp_path: Path, clock: list[float]) -> None:
    """Also where the first ones fail; a family whose turn has not come takes no part."""
    broken = {"kind": "random_forest", "params": {"n_estimators": 5, "max_depth": -1}}
    chosen = spec(broken, RIDGE, {"kind": "linear"}, trials=9, tuning={"max_vcpu_seconds": 1e-6})
    trained = fit_all(load_split(write(fields(120), tmp_path / "t.parquet"), chosen), chosen, InlineWorkers())
    assert {c.name: c.trials for c in trained.contenders if c.trials} == {"ridge": 1}
    assert trained.stopped_by == "cap"
    spent = spec(RIDGE, trials=1, tuning={"max_vcpu_seconds": 1e-6})
    split = load_split(write(fields(120), tmp_path / "t.parquet"), spent)
    assert fit_all(split, spent, InlineWorkers()).stopped_by is None, "nothing was left to try"


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        ({"kind": "random_forest", "params": {"max_dept": 3}}, ["0.params.max_dept", "did you mean 'max_depth'"]),
        ({"kind": "ridge", "search": {"lambda": {"low": 1, "high": 2}}}, ["0.search.lambda", "one of alpha"]),
        ({"kind": "xgboost", "params": {"eta_": 3}}, ["estimators.0.params.eta_", "learning_rate"]),
        ({"kind": "ridge", "params": {"random_state": 3}}, ["params.random_state", "set by Noria"]),
    ],
)  # fmt: skip
def test_a_wrong_hyper_parameter_is_named_before_any_training(estimator: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        check_estimators([EstimatorSpec.model_validate(estimator)], "regression")
    assert all(word in str(caught.value) for word in words)


def test_seeds_change_the_search_and_one_seed_repeats_it(tmp_path: Path) -> None:
    results = []
    for seed in (1, 1, 2):
        chosen = spec(RIDGE, FOREST, seed=seed)
        split = load_split(write(fields(150), tmp_path / "t.parquet"), chosen)
        results.append(fit_all(split, chosen, InlineWorkers()))
    first, again, other = results
    assert again.model == first.model and np.array_equal(again.learning_curve, first.learning_curve)
    assert [c.params for c in other.contenders] != [c.params for c in first.contenders]
