"""`noria bench gate`, small: every attack is refused by what is meant for it, and simulations say what they claim."""

import itertools
import json
import logging
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from noria.bench import gate
from noria.bench.gate import charts, cost, days, luck
from noria.bench.gate.attacks import ATTACKS, World, on_registry
from noria.bench.gate.attacks.attack import Attack
from noria.bench.gate.evidence import Question, regression
from noria.cli import main
from noria.errors import ExitCode, VerdictError
from noria.records import Decision
from noria.settings import CHECKOUT

DOCS = CHECKOUT / "docs"
ASKED = (
    "worse model", "equal model", "lucky seed among 50", "model trained on the holdout", "model tuned on the holdout",
    "NaN metrics", "infinite metrics", "holdout of 8 rows", "predictions of the wrong length",
    "predictions of the wrong order", "constant prediction on unbalanced classes",
    "better mean with one slice far worse", "verdict edited by hand", "verdict of another run",
    "model bytes swapped after the verdict", "verdict used twice", "policy loosened between training and promotion",
    "stale champion", "wrong clock", "registry written to around the adapter", "crash at every step of registering",
    "champion whose file is gone",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are not worth several."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    yield World(tmp_path_factory.mktemp("world"))
    logging.disable(level)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_an_attack_is_refused_for_its_own_reason_and_promoted_without_it(
    attack: Attack, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        on_registry, "WRITES", ("create_model_version", "set_registered_model_alias", "set_model_version_tag")
    )
    result = attack.tried(world)
    assert result["control_promoted"], result["reason"]
    assert result["refused"], (result["kinds"], result["reason"])
    assert result["reason"] and attack.told in result["reason"]


def test_every_attack_that_was_asked_for_is_tried() -> None:
    assert set(ASKED) <= {attack.name for attack in ATTACKS}


def test_the_page_lists_the_same_attacks() -> None:
    page = (DOCS / "gate.md").read_text(encoding="utf-8").partition("## Attacks\n")[2].partition("\n## ")[0]
    told = re.findall(r"(?m)^\| ([^|`]+) \| `(\w+)` \|", page)
    assert told == [(attack.name, attack.kind) for attack in ATTACKS]


def better(_: World, attacked: bool) -> Decision:
    target = np.random.default_rng(1).normal(0, 1, 200)
    noise = np.random.default_rng(2).normal(0, 0.5, 200)
    predictions = (target + noise, target + 0.1 * noise)
    return Question(regression("r2"), target, predictions[not attacked], predictions[attacked]).decide()


def raising(_: World, attacked: bool) -> None:
    if attacked:
        raise VerdictError("something else is wrong")


def test_an_attack_that_is_refused_by_accident_has_got_through(world: World) -> None:
    assert Attack("refused", "champion", better).tried(world)["refused"]
    assert not Attack("by another rule", "rows", better).tried(world)["refused"]
    assert not Attack("for another reason", "champion", better, "the moon").tried(world)["refused"]
    assert not Attack("by another error", "StaleVerdictError", raising).tried(world)["refused"]
    assert not Attack("with other words", "VerdictError", raising, "used before").tried(world)["refused"]
    assert not Attack("not at all", "champion", lambda w, _: better(w, False)).tried(world)["refused"]
    always = Attack("refused without it as well", "champion", lambda w, _: better(w, True)).tried(world)
    assert not always["refused"] and "the same without the attack was refused" in always["reason"]


def test_an_attack_that_gets_through_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for refused, code in ((True, ExitCode.OK), (False, ExitCode.FAILED)):
        told = {"attacks": [{"name": "worse model", "refused": refused, "reason": "it is worse"}]}
        monkeypatch.setattr(gate, "run", lambda _, told=told: told)
        assert main(["bench", "gate", "--json"]) == code
        assert json.loads(capsys.readouterr().out) == told


def test_equal_models_are_promoted_as_seldom_as_promised_and_better_ones_as_often() -> None:
    setting, few = luck.Setting("mae", 100), 400
    with ThreadPoolExecutor(2) as two, ThreadPoolExecutor(1) as one:
        equal = luck.Pool(two).map(partial(luck.judge, setting, luck.SPREAD, few), (1,), 120)
        again = luck.Pool(one).map(partial(luck.judge, setting, luck.SPREAD, few), (1,), 30)
        spread, claimed = luck.where_claim_is_truth(setting, few, 20, luck.Pool(two))
        better = luck.Pool(two).map(partial(luck.judge, setting, spread, few), (2,), 80)
    assert equal[:30] == again
    assert luck.share(look.promoted for look in equal)[0] <= luck.ALPHA + 3 * 0.02
    assert 0.3 < luck.share(look.naive for look in equal)[0] < 0.7
    assert luck.share(look.promoted for look in better)[0] >= luck.POWER - 3 * 0.045
    assert luck.champion_worse_by("mae", claimed) == spread > luck.SPREAD


@pytest.mark.parametrize("metric", ["r2", "mae", "accuracy", "log_loss"])
def test_what_is_better_in_truth_grows_with_the_champions_errors(metric: str) -> None:
    found = luck.true_improvements(metric)
    assert found[0] == 0 and all(a < b for a, b in itertools.pairwise(found))
    if metric == "r2":  # noise and own errors over the variance of the target
        assert found[-1] == pytest.approx((luck.SPREADS[-1] ** 2 - luck.SPREAD**2) / 5, rel=0.02)


def test_sixty_days_of_a_world_are_the_same_again_and_told_in_full() -> None:
    told = days.live(0.0, (1,))
    assert told == days.live(0.0, (1,))
    assert (told["always"].changes, told["never"].changes) == (days.DAYS - 1, 0)
    assert told["gate"].changes < told["higher metric"].changes
    assert told["never"].regret > told["gate"].regret > 0
    assert set(told["never"].champions) == {0}
    for name in days.KEEPERS:
        assert min(told[name].regrets) >= 0 and len(told[name].regrets) == days.DAYS
        assert told[name].harmful_changes <= told[name].changes
    assert days.live(1.0, (1,))["always"].regret > 10 * told["always"].regret


@pytest.mark.parametrize(("task", "most_seconds"), [("regression", 3), ("classification", 5)])
def test_a_large_decision_with_every_metric_is_cheap(
    task: str, most_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    told = cost.in_a_child(task)
    assert told["cpu_seconds"] < most_seconds
    assert 50e6 < told["peak_rss_bytes"] < 500e6
    assert len(told["metrics"]) == 5


def row(metric: str, rows: int) -> dict[str, Any]:
    rates = {"false_promotion_rate": 0.03, "naive_false_promotion_rate": 0.5}
    errors = {f"{key}_se": 0.01 for key in rates}
    return {"metric": metric, "rows": rows, "trials": 100, "power": 0.8, "detectable": 0.05, **rates, **errors}


def test_charts_are_drawn_of_a_measurement(tmp_path: Path) -> None:
    day = {"champions": [0] * 30 + [30] * 30, "regret": [0.1] * 60}
    timeline = dict.fromkeys(("gate", "higher_metric", "always", "never"), day)
    result = {
        "alpha": 0.05,
        "characteristics": [row("r2", 300), row("f1 < 1", 1000)],
        "power_curve": [{"improvement": x, "promoted": x, "promoted_se": 0.1, "naive": x} for x in (0.0, 0.5, 1.0)],
        "days": {"days": 60, "jump_day": 30, "timeline": timeline},
    }
    drawn = charts.write_charts(result, tmp_path)
    assert {file.name for file in drawn} == {file.name for file in (DOCS / "images").glob("gate-*.svg")}
    for file in drawn:
        assert ET.parse(file).getroot().tag.endswith("svg")
    assert "3.0%" in drawn[0].read_text() and "f1 &lt; 1" in drawn[0].read_text()
