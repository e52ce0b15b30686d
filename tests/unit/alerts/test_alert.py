"""What an alert may hold, and what makes two one cause: numbers, times and ids change from run to run; names do not."""

from dataclasses import replace

import pytest

from noria.alerts import Alert, same, to_message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("r2 0.78 against at least 0.8", "r2 0.6 against at least 0.8"),
        ("12 of 1,250 rows, 3.5GB, 12 %, took 12ms", "7 of 9 rows, 1.2GB, 3.5 %, took 1.5e3ms"),
        ("no answer at 2026-03-02 12:00:01.5 UTC", "no answer at 2026-03-03 7:30 UTC"),
        ("no file 'runs/manual__2026-01-01T00-00-00-00-00/a'", "no file 'runs/manual__2026-01-02T03-00-00-00-00/a'"),
        ("lease 1b4e28ba-2fa1-11d2-883f-0016d3cca427 is lost", "lease 7c9e6679-7425-40de-944b-e07fc1f90ae7 is lost"),
        (
            "at 0x7f3a, run deadbeefcafe, '/tmp/tmpab1_xyz9'",
            "at 0x7, run 0123456789ab, '/tmp/tmpqqqqqq1'",
        ),
        ("process 4711 was\nKilled", "process 12 was killed"),
    ],
)
def test_what_changes_from_run_to_run_makes_no_other_cause(one: str, other: str) -> None:
    assert same(one) == same(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no column 'G1'", "no column 'G2'"),
        ("no column G1", "no column G2"),
        ("no class '1'", "no class '2'"),
        ("“4 to 6” is empty", "“6 to 8” is empty"),
        ("10.0.0.1 does not answer", "10.0.0.2 does not answer"),
        ("r2 is too low", "mae is too low"),
        ("node gpu-1 is gone", "node gpu-2 is gone"),
    ],
)
def test_other_names_are_other_causes(one: str, other: str) -> None:
    assert same(one) != same(other)


def test_no_secret_of_an_error_is_mailed_wherever_it_stands() -> None:
    secret = "no answer of postgresql://bob:hunter2@db/x"
    alert = Alert(
        "students",
        secret,
        cause=secret,
        details=[secret],
        sections=[(secret, [secret])],
        header=("Part", secret),
        rows=[("", secret)],
        log_stage=secret,
        log=[secret],
        links=[("Run", "http://127.0.0.1/runs/a//b:c@d")],
    )
    assert "hunter2" not in repr(alert)
    assert alert.links[0][1] == "http://127.0.0.1/runs/a//b:c@d", "an address stays as it is"


def test_what_a_mail_holds_is_bounded_and_the_rest_is_counted() -> None:
    line, many = "x" * 2_000, ["a b"] * 250_000
    alert = Alert(
        "students",
        line,
        details=[line, *many],
        sections=[(line, [line, "b"] * 100)] * 500,
        header=("Part", "Cost"),
        rows=[(line, line)] * 50 + [("last", "1")] * 50,
        log_stage="train",
        log=[*many, "ERROR the end"],
        links=[("Run", "http://127.0.0.1/")] * 1000,
    )
    assert len(alert.happened) == 1_000
    assert alert.happened.endswith("…")
    assert alert.details[-1] == "… and 249952 more"
    assert (alert.sections[-1], alert.rows[-1]) == (("… and 451 more", ()), ("… and 51 more", ""))
    assert alert.log[-1] == "ERROR the end"
    assert replace(alert) == alert, "read back it is the same"
    assert len(to_message(alert, ["a@example.org"]).as_bytes()) < 4_000_000, "far less than servers take"
