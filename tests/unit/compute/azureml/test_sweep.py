"""Search spaces as Azure ML takes them: what is drawn there lies in our space, its ends included."""

import math
import random

import pytest

from noria.compute.azureml.frame import LONGEST_SECONDS
from noria.compute.azureml.sweep import Search, limit_seconds, point_of, search_space
from noria.errors import InputError, SpecError
from noria.models.families import FAMILIES
from noria.pipeline import Dimension, Tuning
from tests.azure.twin.ml.sweep import DRAWS


def rest(dimension: Dimension, **options: object) -> list[object]:
    """A dimension as it goes over the wire."""
    found: list[object] = search_space(Search("ridge", {"x": dimension}, 4, **options))["x"]._to_rest_object()  # type: ignore[arg-type]
    return found


def drawn(dimension: Dimension, count: int = 20_000, **options: object) -> list[object]:
    """What a trial would get, drawn by Azure ML's definitions."""
    kind, arguments = rest(dimension, **options)
    rng = random.Random(1)
    return [point_of(dimension, str(DRAWS[kind](rng, *arguments))) for _ in range(count)]  # type: ignore[index]


def test_bounds_of_a_logarithmic_range_are_exponents_of_e() -> None:
    kind, (low, high) = rest(Dimension(low=0.01, high=100, log=True))  # type: ignore[misc]
    assert kind == "loguniform"
    assert (math.exp(low), math.exp(high)) == pytest.approx((0.01, 100))  # type: ignore[has-type]


def test_a_plain_range() -> None:
    assert rest(Dimension(low=0.6, high=1)) == ["uniform", [0.6, 1]]


def test_randint_ends_before_its_upper_bound() -> None:
    dimension = Dimension(low=0, high=3, integer=True)
    assert rest(dimension) == ["randint", [4]]
    assert set(drawn(dimension)) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("dimension", "points"),
    [
        (Dimension(low=4, high=14, integer=True), list(range(4, 15))),
        (Dimension(low=50, high=200, step=50, integer=True), [50, 100, 150, 200]),
        (Dimension(low=50, high=220, step=50, integer=True), [50, 100, 150, 200]),
        (Dimension(low=0, high=1, step=0.25), [0, 0.25, 0.5, 0.75, 1]),
        (Dimension(low=5, high=21, step=4, integer=True), [5, 9, 13, 17, 21]),
        (Dimension(low=-2, high=2, integer=True), [-2, -1, 0, 1, 2]),
    ],
)
def test_all_points_of_a_grid_have_equal_odds(dimension: Dimension, points: list[float]) -> None:
    values = drawn(dimension)
    assert sorted(set(values)) == points  # type: ignore[type-var]
    expected = len(values) / len(points)
    assert all(abs(values.count(point) - expected) < 0.15 * expected for point in points)


def test_whole_numbers_of_a_logarithmic_range() -> None:
    values = drawn(Dimension(low=1, high=100, log=True, integer=True))
    assert {min(values), max(values)} == {1, 100}  # type: ignore[type-var]
    assert values.count(1) > 20 * values.count(100)


def test_choices_keep_their_kind() -> None:
    mixed = Dimension(choices=(None, True, 0.5, "sqrt", 3))
    assert rest(mixed) == ["choice", [["null", "true", "0.5", "sqrt", "3"]]]
    assert [point_of(mixed, text) for text in ("null", "true", "0.5", "sqrt", "3")] == [None, True, 0.5, "sqrt", 3]
    assert rest(Dimension(choices=(1, 2.5))) == ["choice", [[1, 2.5]]]


def test_every_family_can_be_searched() -> None:
    for family in FAMILIES.values():
        for space in family.search.values():
            if space:
                assert search_space(Search(family.kind, space, 4)).keys() == space.keys()


def test_a_grid_of_choices() -> None:
    assert rest(Dimension(low=1, high=3, integer=True), sampling="grid") == ["choice", [[1, 2, 3]]]


@pytest.mark.parametrize(
    ("dimension", "options", "words"),
    [
        (Dimension(low=0.1, high=1, log=True), {"sampling": "bayesian"}, "logarithmic"),
        (Dimension(low=0, high=1), {"sampling": "bayesian", "stopping": "median"}, "early termination"),
        (Dimension(low=0, high=1), {"sampling": "grid"}, "without steps"),
        (Dimension(low=0, high=1, step=1e-6), {"sampling": "grid"}, "a grid of 1000001 points"),
        (Dimension(choices=("a b",)), {}, "command line"),
        (Dimension(choices=("$(rm)",)), {}, "command line"),
        (Dimension(choices=("1", 1)), {}, "written alike"),
    ],
)
def test_what_cannot_be_said_is_refused(dimension: Dimension, options: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        rest(dimension, **options)


def test_nothing_to_search_is_refused() -> None:
    with pytest.raises(SpecError, match="nothing to search"):
        search_space(Search("linear", {}, 4))


@pytest.mark.parametrize(
    ("cap", "expected"), [(None, LONGEST_SECONDS), (2400, 300), (2407, 300), (1, 60), (1e9, LONGEST_SECONDS)]
)
def test_a_cap_is_the_time_that_all_nodes_together_may_be_held(cap: float | None, expected: int) -> None:
    """Two nodes of four vCPUs, since there are no more than two trials."""
    search = Search("ridge", {"x": Dimension(low=0, high=1)}, trials=2, concurrent=3, node_vcpus=4)
    assert limit_seconds(search, Tuning(max_vcpu_seconds=cap)) == expected


def test_a_cap_on_nodes_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match="how many vCPUs a node of the cluster has"):
        limit_seconds(Search("ridge", {"x": Dimension(low=0, high=1)}, trials=2), Tuning(max_vcpu_seconds=9))
