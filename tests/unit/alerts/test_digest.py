"""What a digest tells of several alerts, and of each what matters."""

from datetime import UTC, datetime

from noria.alerts import Alert, to_message
from noria.alerts.digest import digest_alert
from noria.alerts.letters import news_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TEAM = ("team@example.org",)


def digest(*alerts: Alert) -> Alert:
    return digest_alert([news_of(alert, TEAM, NOON) for alert in alerts])


def test_the_subject_says_what_happened_however_many_pipelines_it_happened_to() -> None:
    alerts = [Alert(f"pipeline_of_{number:02}", "the run failed in train: no space left") for number in range(12)]
    assert digest(*alerts[:3]).pipeline == "pipeline_of_00, pipeline_of_01, pipeline_of_02"
    subject = "[Noria error] 12 pipelines: digest of 12 causes, 12 times: the run failed in train: no space left"
    assert digest(*alerts).subject == subject


def test_the_card_and_the_table_are_in_it() -> None:
    champion = Alert(
        "students",
        "new champion, version 3: rmse 2",
        good=True,
        details=["A sentence."],
        sections=[("Rules", ["ok    required  rmse", "FAIL  advisory  mae"]), ("Verdict", ["id 1"])],
        header=("Metric", "Candidate", "Required"),
        rows=[("rmse", "2", "at most 3"), ("mae", "1", "")],
    )
    ((_, lines), _) = digest(champion, Alert("students", "failed", severity="info")).sections
    assert lines[1:] == (
        "A sentence.",
        "Rules: ok    required  rmse",
        "FAIL  advisory  mae",
        "Verdict: id 1",
        "rmse: Candidate 2, Required at most 3",
        "mae: Candidate 1",
    )


def test_what_it_tells_of_each_is_bounded() -> None:
    alerts = [Alert("students", f"failed {n}", cause=str(n), details=["x" * 1_000] * 50) for n in range(60)]
    whole = digest(*alerts)
    assert len(to_message(whole, TEAM).as_bytes()) < 1_000_000
    assert whole.sections[0][1][-1] == "… and 36 more"
