"""The page of a night's costs: what it shows, what it must not let through, and that it is written whole."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from noria.costs.page import key_lines, write_report
from noria.costs.page.chart import HEIGHT, UNTAGGED, chart
from noria.costs.page.render import render_costs, report_url, sentences, tone
from noria.costs.summary import BudgetUse, DayCost, DearRun, Line, Summary
from noria.jobs.costs import REPRICED_DAYS
from noria.records import Predicting
from noria.settings import Settings
from noria.workspace import Workspace
from tests.support.charges import DAY, NODE, bill, estimate, nodes, write
from tests.support.elements import Elements
from tests.support.judged import decision
from tests.support.runs import done

BEFORE = DAY - timedelta(days=1)
SHEET = f"""
currency: USD
machines:
  local: {{ per_vcpu_hour: 0.05, source: "list price & discount", date: 2026-11-01 }}
  {NODE}: {{ per_node_hour: 0.4, vcpus: 4, source: a test, date: 2026-11-01 }}
total: {{ per_month: 3 }}
"""
NASTY = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    home = tmp_path_factory.mktemp("page")
    (home / "costs.yaml").write_text(SHEET)
    return Workspace.open(Settings.from_env({"NORIA_COSTS": str(home / "costs.yaml")}, home=home))


@pytest.fixture(scope="module")
def summary(workspace: Workspace) -> Summary:
    """Two days, one of them invoiced, with names that want to be HTML."""
    run = workspace.create_run("students", "r1")
    done(workspace, run, "promote", decision("keep", predicting=Predicting(rows=600, cpu_seconds=3.6)))
    of_run = {"x_Run": "r1", "x_Stage": "train", "x_CpuSeconds": 36_000.0, "x_VcpuSeconds": 144_000.0}
    write(
        workspace,
        estimate(
            NODE, "8", "0.80", day=BEFORE, x_Run="r0", x_Stage="train", x_CpuSeconds=2880.0, x_VcpuSeconds=28_800.0
        ),
        nodes("5", "2.50", day=BEFORE, x_Run="r0"),
        bill("Key Vault", "1", "10K", "0.03", day=BEFORE, BillingCurrency="EUR"),
        estimate("local", "40", "2.00", **of_run),
        estimate("synapse", "10", "0", x_Run="r1", x_Stage="explore", x_CpuSeconds=0.0, x_VcpuSeconds=36_000.0),
        estimate("local", "1", "0.05", f"{NASTY}p", ServiceName=f"{NASTY}s", x_Stage=f"{NASTY}t", x_Run=f"{NASTY}r"),
    )
    return write_report(workspace, DAY).summary


@pytest.fixture(scope="module")
def page(workspace: Workspace, summary: Summary) -> str:
    return workspace.lake.read("reports/costs/2026-11-20.html").decode()


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_names_from_data_never_become_part_of_the_page(page: str) -> None:
    assert "<script" not in page
    for name in "pstr":
        assert f"&lt;script&gt;alert(1)&lt;/script&gt;{name}" in page, name


def test_it_loads_nothing_and_runs_nothing(page: str) -> None:
    found = Elements(page).elements
    assert not [tag for tag, _ in found if tag in ("script", "link", "img", "iframe", "object", "embed", "form")]
    for tag, attributes in found:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag == "a" or not {"src", "href", "srcset", "data"} & set(attributes), (tag, attributes)
    assert "@import" not in page and re.findall(r"url\((?!#)", page) == []


def test_the_headline_tells_the_day_the_month_and_the_budget(page: str) -> None:
    said = words(page)
    assert "2.05 USD" in said
    assert "The month has cost 4.55 USD so far and is forecast at " in said
    assert "The budget of 3.00 USD a month is used to 152 %" in said
    assert "45 % of the month is estimated, the rest is invoiced." in said
    assert 'class="card hero failed"' in page, "a broken budget is no good news"


@pytest.mark.parametrize(
    ("spent", "forecast", "expected", "said"),
    [
        (
            "11",
            "12",
            "failed",
            "10.00 USD a month is used to 110 %, and the forecast breaks it.",
        ),
        ("5", "12", "reject", "10.00 USD a month is used to 50 %, and the forecast breaks it."),
        ("5", "9", "promote", None),
    ],
)
def test_a_pipelines_budget_colours_the_headline_where_it_presses(
    summary: Summary, spent: str, forecast: str, expected: str, said: str | None
) -> None:
    use = BudgetUse(
        pipeline="taxis", period="month", limit=Decimal(10), spent=Decimal(spent), forecast=Decimal(forecast)
    )
    figures = summary.currencies[0].model_copy(update={"budgets": (use,)})
    assert tone(figures) == expected
    expected_lines = [f"The budget of taxis of {said}"] if said else []
    assert [line for line in sentences(figures) if "taxis" in line] == expected_lines


def test_currencies_have_sections_of_their_own(page: str) -> None:
    assert re.findall(r'id="headline-(\w+)"', page) == ["USD", "EUR"]
    assert "0.030 EUR" in words(page)


def test_the_difference_and_the_price_sheets_error_are_told(page: str) -> None:
    said = words(page)
    assert "The invoice says 2.50 USD for 1 day from 2026-11-19 to 2026-11-19; the estimates said 0.80." in said
    assert "node time that was paid for and not used by jobs, reserved time too 1.50" in said
    assert re.search(r"D4s_v3 0\.4 0\.5 −20\.0 % per_node_hour: 0\.5", said)


def test_recommendations_and_prices_are_told(page: str) -> None:
    said = words(page)
    assert "1.5 USD a month, about idle nodes Nodes were paid for while no job ran on them." in said
    assert "0.70 USD a month, about students: idle compute Most is wasted by train, whose jobs used 10 %" in said
    assert "list price &amp; discount" in page
    assert f"the next night prices days without an invoice anew, back to {REPRICED_DAYS} days" in said


def test_a_dear_run_shows_the_share_of_the_time_that_tells_its_use(page: str) -> None:
    """A quarter of 144,000 s of training; of 36,000 s by Spark nothing is known."""
    assert re.search(r"r1 train .{0,60}estimated 25 % of 40\.0 h", words(page))


def test_what_a_thousand_predictions_cost_is_told(page: str) -> None:
    """3.6 s at 0.05 an hour, for 600."""
    assert "0.000083 0.083 a million 600 made in 3.6 s" in words(page)


def test_estimates_are_hatched_and_invoices_are_not(page: str) -> None:
    usd = page.partition('id="days-USD"')[2].partition("</svg>")[0]
    assert usd.count('class="hatch"') == 1
    assert "19 November, students: 2.50 (invoice) USD" in usd and "20 November, students: 2.00 (estimate) USD" in usd


def test_it_is_written_again_without_a_trace(workspace: Workspace, summary: Summary) -> None:
    report = write_report(workspace, DAY)
    assert (report.html, report.json) == ("reports/costs/2026-11-20.html", "reports/costs/2026-11-20.json")
    again = Summary.model_validate_json(workspace.lake.read(report.json))
    assert again.model_copy(update={"written_at": summary.written_at}) == summary
    assert sorted(workspace.lake.list("reports/costs")) == [report.html, report.json]


def test_empty_data_says_what_to_do(tmp_path: Path) -> None:
    workspace = Workspace.open(Settings.from_env({}, home=tmp_path))
    report = write_report(workspace, DAY)
    said = words(workspace.lake.read(report.html).decode())
    assert "Nothing has cost anything yet" in said and "noria run students" in said
    assert key_lines(report.summary) == ["Nothing has cost anything yet."]


def test_key_lines_say_the_same_in_short(summary: Summary) -> None:
    lines = key_lines(summary)
    assert lines[0] == "20 November: 2.05 USD, the day before 2.50."
    assert "For the day with an invoice it says 2.50 USD, the estimates said 0.80." in lines
    assert any("a month can be saved." in line for line in lines)


@pytest.mark.parametrize(
    ("airflow_url", "report", "expected"),
    [
        ("https://a/x/dags/p__retrain/runs/r%2F1", "runs/p/r1/report/report.html",
         "https://a/x/noria/dags/p__retrain/runs/r%2F1/report"),
        (None, "runs/p/r1/report/report.html", "../../runs/p/r1/report/report.html"),
        ("https://a/dags/p__retrain/runs/r1", None, None),
    ],
)  # fmt: skip
def test_a_runs_page_is_linked_where_it_is_shown(
    airflow_url: str | None, report: str | None, expected: str | None
) -> None:
    run = DearRun(
        pipeline="p", run_id="r1", cost=Decimal(1), is_estimate=True, outcome=None, vcpu_seconds=None,
        cpu_seconds=None, by_stage={}, airflow_url=airflow_url, report=report,
    )  # fmt: skip
    assert report_url(run) == expected


BREAKDOWN_FIELDS = ("by_pipeline", "by_stage", "by_service", "by_machine")


def day(number: int, estimate: str = "0", **by_pipeline: str) -> DayCost:
    amounts = {name.replace("untagged", ""): Decimal(amount) for name, amount in by_pipeline.items()}
    total = sum(amounts.values(), Decimal(0))
    return DayCost(day=DAY + timedelta(days=number), total=total, estimate=Decimal(estimate), by_pipeline=amounts)


def test_bars_are_stacked_in_proportion_and_credits_are_not_drawn() -> None:
    drawing = chart([day(0, a="3", b="1"), day(1, a="1", untagged="-5"), day(2)])
    assert drawing is not None
    first, second, third = drawing.bars
    assert [block.height / first.height for block in first.blocks] == pytest.approx([0.75, 0.25])
    assert second.height == pytest.approx(first.height / 4) and third.blocks == ()
    assert first.top >= 0 and first.top + first.height == pytest.approx(drawing.base) and drawing.base < HEIGHT
    assert [text for _, text in drawing.ticks] == ["0", "1.00", "2.00", "3.00", "4.00"]


def test_credits_are_said_not_to_be_drawn(summary: Summary) -> None:
    said = "Credits are not drawn"
    usd = summary.currencies[0]
    credited = day(0, students="12.5", untagged="3.25", taxis="-1.1").model_copy(update={"day": DAY})
    assert said not in render_costs(summary)
    changed = usd.model_copy(update={"days": (*usd.days[:-1], credited)})
    assert said in render_costs(summary.model_copy(update={"currencies": (changed,)}))


def test_a_line_of_credits_has_no_bar_and_next_to_nothing_has_no_line(summary: Summary) -> None:
    usd = summary.currencies[0]
    lines = [("a", "9"), ("b", "-2"), ("c", "0.008"), (None, "0.0000001")]
    by_machine = tuple(Line(name=n, day=Decimal(0), month=Decimal(m), estimate=Decimal(0)) for n, m in lines)
    changed = usd.model_copy(update={"month": Decimal("7.008"), "untagged": Decimal("0.0000001")})
    figures = changed.model_copy(update=dict.fromkeys(BREAKDOWN_FIELDS, by_machine))
    page = render_costs(summary.model_copy(update={"currencies": (figures,)}))
    table = page.partition("By machine")[2].partition("</section>")[0]
    assert words(table).count("and 1 smaller") == 1 and "no machine" not in table
    assert re.findall(r"<tr><td>(\w)</td><td>(<div)?", table) == [("a", "<div"), ("b", ""), ("c", "<div")]
    assert "without a pipeline’s tag" not in page and "without a tag" not in page.partition("By pipeline")[2][:900]


def test_what_no_bar_shows_is_not_in_the_key() -> None:
    days = [day(0, a="3", b="0.001", untagged="0.0000001"), day(1, c="0.004", untagged="0.0000001")]
    drawing = chart(days)
    assert drawing is not None and [name for name, _ in drawing.key] == ["a", "c"]
    assert [len(bar.blocks) for bar in drawing.bars] == [1, 1]


def test_what_has_no_machine_is_not_said_to_be_unmetered(page: str) -> None:
    table = words(page.partition("By machine")[2].partition("</section>")[0])
    assert "no machine 0 2.50" in table and "not metered" not in table


def test_many_pipelines_share_the_last_colour() -> None:
    drawing = chart([day(0, **{f"p{i}": str(20 - i) for i in range(9)}, untagged="1")])
    assert drawing is not None
    assert [name for name, _ in drawing.key] == ["p0", "p1", "p2", "p3", "p4", "others", UNTAGGED]
    assert sum(block.height for block in drawing.bars[0].blocks) == pytest.approx(drawing.bars[0].height)
    assert chart([day(0)]) is None
