"""`noria bench gate`, small: every attack is refused by what is meant for it, and simulations say what they claim."""

import argparse
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
from mlflow import MlflowClient
from threadpoolctl import threadpool_limits

from noria.bench import gate
from noria.bench.gate import attacks, charts, cost, days, luck
from noria.bench.gate.attacks import ATTACKS, World, on_registry
from noria.bench.gate.attacks.attack import Attack
from noria.bench.gate.evidence import Question, regression
from noria.cli import main
from noria.errors import ExitCode, NoriaError, VerdictError
from noria.records import Decision
from noria.settings import CHECKOUT
from tests.support.mlflow_schema import remember_newest_schema

DOCS = CHECKOUT / "docs"
ASKED = (
    "worse model", "equal model", "lucky seed among 50", "model trained on the holdout", "model tuned on the holdout",
    "NaN metrics", "infinite metrics", "holdout of 8 rows", "predictions of the wrong length",
    "predictions of the wrong order", "constant prediction on unbalanced classes",
    "better mean with one slice far worse", "verdict edited by hand", "verdict of another run",
    "model bytes swapped after the verdict", "verdict used twice", "policy loosened between training and promotion",
    "approval loosened by an override", "stale champion", "wrong clock", "clock that runs ahead",
    "registry written to around the adapter", "crash at every step of registering", "champion whose file is gone",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are not worth several."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    remember_newest_schema()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    yield World(tmp_path_factory.mktemp("world"))
    logging.disable(level)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_an_attack_is_refused_for_its_own_reason_and_promoted_without_it(
    attack: Attack, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_registry, "WRITES", killed := ("create_model_version", "set_model_version_tag"))
    result = attack.tried(world)
    assert result["control_promoted"], result["reason"]
    assert result["refused"], (result["kinds"], result["reason"])
    assert result["reason"] and attack.told in result["reason"]
    assert "\n" not in result["reason"] and "###" not in result["reason"]
    if attack.scenario is on_registry.crashes:
        assert all(write in result["reason"] for write in killed)


def test_a_crash_is_tried_at_everything_by_which_registering_writes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.restore()
    run = world.propose()
    verdict = on_registry._verdict(world, run)
    known = on_registry.WRITES
    changing = re.compile(r"(copy|create|delete|finalize|log|rename|restore|set|transition|update)_\w+$")
    monkeypatch.setattr(on_registry, "WRITES", tuple(filter(changing.match, dir(MlflowClient))))
    with on_registry._counted(MlflowClient, at=None) as writes:
        on_registry._enter(world, run, verdict)
    assert set(writes) == set(known)


def test_a_crash_at_a_write_that_is_never_reached_proves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_registry, "WRITES", ("delete_registered_model",))
    world.restore()
    with pytest.raises(NoriaError, match="delete_registered_model"):
        on_registry.crashes(world, True)


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
        equal = luck.Pool(two).map(partial(luck.judge, setting, luck.SPREAD, few), (1,), 600)
        again = luck.Pool(one).map(partial(luck.judge, setting, luck.SPREAD, few), (1,), 30)
        spread, claimed = luck.where_claim_is_truth(setting, few, 60, luck.Pool(two))
        better = luck.Pool(two).map(partial(luck.judge, setting, spread, few), (2,), 300)
    assert equal[:30] == again
    wrong, error = luck.share(look.promoted for look in equal)
    assert 0 < wrong <= luck.ALPHA + error
    assert 0.45 < luck.share(look.naive for look in equal)[0] < 0.55
    seen, error = luck.share(look.promoted for look in better)
    assert seen >= luck.POWER - 2 * error
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
    for count in ("changes", "flip_flops", "harmful_changes"):
        assert getattr(told["gate"], count) < getattr(told["higher metric"], count) < getattr(told["always"], count)
    assert told["never"].regret > told["gate"].regret > 0
    assert set(told["never"].champions) == {0}
    for name in days.KEEPERS:
        assert min(told[name].regrets) >= 0 and len(told[name].regrets) == days.DAYS
        assert told[name].harmful_changes <= told[name].changes
    assert days.live(1.0, (1,))["always"].regret > 10 * told["always"].regret


TINY = luck.Plan(
    settings=((luck.Setting("r2", 100), 40), (luck.Setting("accuracy", 200), 20)),
    draws=400,
    pilot=10,
    families=3,
    curve=10,
    worlds=2,
)


@pytest.fixture(scope="module")
def measured(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], Path]]:
    """What a small measurement gives, and the folder of its charts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    gate.add_arguments(parser)
    folder = tmp_path_factory.mktemp("charts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "_pool", lambda: ThreadPoolExecutor(2))
        patch.setattr(attacks, "World", lambda _: world)
        patch.setattr(attacks, "ATTACKS", [a for a in ATTACKS if a.name in ("worse model", "verdict of another run")])
        result = gate.run(parser.parse_args(["--quick", "--charts", str(folder)]), TINY)
    yield json.loads(json.dumps(result)), folder


def test_a_measurement_has_all_that_was_asked_for(measured: tuple[dict[str, Any], Path]) -> None:
    result, _ = measured
    assert [{"name", "refused", "reason"} <= set(attack) for attack in result["attacks"]] == [True, True]
    assert gate.succeeded(result) and gate.in_short(result)["attacks refused"] == "2 of 2"
    assert result["alpha"] == 0.05
    assert 0 <= result["false_promotion_rate"] <= 0.15 < result["naive_false_promotion_rate"] < 0.85
    assert 0.5 < result["power"] <= 1
    assert [(row["metric"], row["trials"]) for row in result["characteristics"]] == [("r2", 40), ("accuracy", 20)]
    fifty = result["fifty_looks"]
    assert fifty["families"] == 3 and fifty["false_promotion_rate"] < fifty["naive_false_promotion_rate"] == 1
    assert len(result["power_curve"]) == 8 and result["power_curve"][0]["promoted"] < 0.5
    for world_kind in ("steady", "mishaps"):
        told = result["days"][world_kind]
        for what in ("champion_changes", "flip_flops", "harmful_changes"):
            assert told["gate"][what]["mean"] < told["higher_metric"][what]["mean"] < told["always"][what]["mean"]
        assert told["gate"]["regret"]["mean"] < told["never"]["regret"]["mean"]
    assert result["days"]["worlds"] == 2


def test_a_large_decision_with_every_metric_needs_little_memory(measured: tuple[dict[str, Any], Path]) -> None:
    result, _ = measured
    cases = {task: result["decide"][task] for task in cost.CASES}
    assert cost.ROWS == 100_000 and {len(told["metrics"]) for told in cases.values()} == {5}
    for told in cases.values():
        assert told["cpu_seconds"] > 0
        assert 50e6 < told["peak_rss_bytes"] <= result["peak_rss_bytes"] < 500e6
        assert 0 < told["seconds"] <= result["decide_seconds"]


def test_charts_are_drawn_of_a_measurement(measured: tuple[dict[str, Any], Path]) -> None:
    result, folder = measured
    drawn = {file.name: file for file in folder.iterdir()}
    assert set(drawn) == {file.name for file in (DOCS / "images").glob("gate-*.svg")}
    for file in drawn.values():
        assert ET.parse(file).getroot().tag.endswith("svg")
    row = result["characteristics"][0]
    assert f"r2, 100 rows: {row['false_promotion_rate']:.1%}" in drawn["gate-false-promotions.svg"].read_text()


# The page shows what one measurement printed.


PRINTED = json.loads((DOCS / "gate.json").read_text(encoding="utf-8"))


def percent(share: float, error: float | None = None) -> str:
    return f"{100 * share:.1f} %" + (f" ± {100 * error:.1f} %" if error is not None else "")


def test_the_pictures_of_the_page_are_those_of_its_measurement(tmp_path: Path) -> None:
    for file in charts.write_charts(PRINTED, tmp_path):
        assert file.read_text() == (DOCS / "images" / file.name).read_text()


def test_the_page_has_the_figures_of_its_measurement() -> None:
    page = (DOCS / "gate.md").read_text(encoding="utf-8")
    for row in PRINTED["characteristics"]:
        wrong, naive, power = (
            percent(row[key], row[f"{key}_se"])
            for key in ("false_promotion_rate", "naive_false_promotion_rate", "power")
        )
        assert (
            f"| `{row['metric']}` | {row['rows']:,} | {wrong} | {naive} | {power} | {row['detectable']:.3g} "
            f"| {row['trials']:,} |"
        ) in page
    fifty = PRINTED["fifty_looks"]
    rate = percent(fifty["false_promotion_rate"], fifty["false_promotion_rate_se"])
    assert f"| {fifty['families']} | {rate} | {percent(fifty['naive_false_promotion_rate'])} |" in page
    for kind, words in (("steady", "steady"), ("mishaps", "with mishaps")):
        for name, told in PRINTED["days"][kind].items():
            cells = [
                f"{told[key]['mean']:.{digits}f} ± {told[key]['sd']:.{digits}f}"
                for key, digits in (("champion_changes", 1), ("flip_flops", 1), ("harmful_changes", 1), ("regret", 3))
            ]
            assert f"| {words} | {WAYS[name]} | {' | '.join(cells)} |" in page
    assert f"seed {PRINTED['seed']}" in page and f"over {PRINTED['days']['worlds']} worlds" in page


WAYS = {
    "gate": "the gate",
    "higher_metric": "higher metric wins",
    "always": "always promote",
    "never": "never promote",
}


def test_what_the_page_was_measured_by_is_the_plan_that_stands() -> None:
    shown = [(row["metric"], row["rows"], row["trials"]) for row in PRINTED["characteristics"]]
    assert shown == [(setting.metric, setting.rows, trials) for setting, trials in luck.FULL.settings]
    assert (PRINTED["fifty_looks"]["families"], PRINTED["days"]["worlds"]) == (luck.FULL.families, luck.FULL.worlds)
    assert (PRINTED["seed"], PRINTED["draws"]) == (luck.SEED, luck.FULL.draws)
    assert [attack["name"] for attack in PRINTED["attacks"]] == [attack.name for attack in ATTACKS]
    assert gate.succeeded(PRINTED)


def test_what_the_gate_promises_was_measured() -> None:
    """At most alpha, and eight of ten; each within two standard errors, since these are samples."""
    for row in (*PRINTED["characteristics"], PRINTED["fifty_looks"]):
        assert row["false_promotion_rate"] <= PRINTED["alpha"]
    for row in PRINTED["characteristics"]:
        assert row["power"] >= luck.POWER - 2 * row["power_se"], row["metric"]
        assert abs(row["naive_false_promotion_rate"] - 0.5) < 0.06
    for kind in ("steady", "mishaps"):
        told = PRINTED["days"][kind]
        assert told["gate"]["flip_flops"]["mean"] < 1 < told["higher_metric"]["flip_flops"]["mean"]
        assert told["gate"]["harmful_changes"]["mean"] < told["higher_metric"]["harmful_changes"]["mean"]
