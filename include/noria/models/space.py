"""Search spaces: checked against the family before any training, and asked from Optuna."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from noria.errors import SpecError
from noria.models.families import FAMILIES
from noria.models.family import RESERVED
from noria.models.problem import Task
from noria.pipeline import Dimension, EstimatorSpec, Scalar

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, Dimension]


def search_space(spec: EstimatorSpec, task: Task) -> Space:
    """The space that is searched: the spec's own or the family's, without what the spec fixes."""
    if spec.search is not None:
        return spec.search
    return {name: d for name, d in FAMILIES[spec.kind].search[task].items() if name not in spec.params}


def check_estimators(estimators: Sequence[EstimatorSpec], task: Task) -> None:
    """Refuse hyper-parameters that a family does not have.

    Raises:
        SpecError: Names the key.
    """
    for position, spec in enumerate(estimators):
        known = FAMILIES[spec.kind].parameters(task)
        where = f"estimators.{position}"
        for name in spec.params:
            _check_name(f"{where}.params.{name}", name, spec.kind, known)
        for name in search_space(spec, task):
            _check_name(f"{where}.search.{name}", name, spec.kind, known)


def suggest(trial: optuna.trial.Trial, space: Space) -> dict[str, Scalar | None]:
    """One point of the space, chosen by the trial's sampler."""
    return {name: _suggest(trial, name, dimension) for name, dimension in space.items()}


def default_point(spec: EstimatorSpec, task: Task, space: Space) -> dict[str, Scalar | None]:
    """The family's own defaults as far as they lie in the space; Optuna draws the rest."""
    defaults = FAMILIES[spec.kind].estimator(task, dict(spec.params), 0).get_params()
    return {name: defaults[name] for name, d in space.items() if _contains(d, defaults.get(name))}


def _contains(dimension: Dimension, value: object) -> bool:
    if dimension.choices is not None:
        return value in dimension.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    low, high = _bounds(dimension)
    on_grid = dimension.step is None or (value - low) % dimension.step == 0
    return low <= value <= high and on_grid


def _check_name(key: str, name: str, kind: str, known: frozenset[str]) -> None:
    if name in known:
        return
    if name in RESERVED:
        raise SpecError(f"{key}: {name!r} is set by Noria", remedy="Leave it out.")
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise SpecError(f"{key}: unknown hyper-parameter of {kind}{hint}", expected=f"one of {', '.join(sorted(known))}")


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.low is not None and dimension.high is not None  # noqa: S101  the schema demands them
    return dimension.low, dimension.high


def _suggest(trial: optuna.trial.Trial, name: str, dimension: Dimension) -> Scalar | None:
    if dimension.choices is not None:
        chosen: Scalar | None = trial.suggest_categorical(name, list(dimension.choices))
        return chosen
    low, high = _bounds(dimension)
    if dimension.integer:
        return int(trial.suggest_int(name, int(low), int(high), step=int(dimension.step or 1), log=dimension.log))
    return float(trial.suggest_float(name, low, high, step=dimension.step, log=dimension.log))
