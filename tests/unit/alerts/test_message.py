"""How an alert arrives at a real server: what names and errors hold cannot change the mail around them."""

from __future__ import annotations

import email
import email.policy
import html
import re
from email.message import EmailMessage
from typing import get_args

import pytest

from noria.alerts import Alert, to_message
from noria.pipeline.alerts import AlertSeverity
from tests.support.mail import MailServer

HEADERS = {
    "Subject",
    "From",
    "To",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "X-Noria-Severity",
    "MIME-Version",
    "Content-Type",
}
HOSTILE = {
    "line breaks": "students\r\nBcc: everybody@example.org\r\n\r\nnew body",
    "other line breaks": "a\u2028Bcc: x@example.org\u2029b\x0bc\x0cd\x1ce\x85Bcc: f",
    "a header in it": "\nContent-Type: text/html\n\n<script>alert(1)</script>",
    "turned around": "\u202egpj.exe\u202c \u2066x\u2069 \u200b\ufeff",
    "half a character": "caf\udce9 \ud83d",
    "nothing printable": "\x00\x01\x1b[31m\x7f",
    "very long": "x" * 20_000,
    "long words of another script": "質問と回答 " * 400,
    "an encoded word": "=?utf-8?q?=0D=0ABcc:_x@example.org?=",
    "markup": "<img src=x onerror=alert(1)> \"'><b>&amp;",
}


def received(server: MailServer, alert: Alert, *recipients: str) -> EmailMessage:
    server.behave()
    assert server.send(to_message(alert, recipients), recipients) == {}
    ((_, message),) = server.kept
    return message


def parts(message: EmailMessage) -> tuple[str, str]:
    plain, page = (str(part.get_content()) for part in message.iter_parts())
    return plain, page


@pytest.mark.parametrize("case", HOSTILE)
def test_text_from_outside_stays_text_wherever_it_stands(smtp: MailServer, case: str) -> None:
    text = HOSTILE[case]
    alert = Alert(
        text,
        f"failed in {text}",
        details=[text],
        sections=[(text, [text])],
        header=(text, "B"),
        rows=[(text, text)],
        links=[("Run", 'http://127.0.0.1/"onclick='), (text, "javascript:alert(1)")],
        log_stage=text,
        log=[text],
    )
    message = received(smtp, alert, "a@example.org", "b@example.org")
    assert set(message.keys()) == HEADERS
    assert all(len(message.get_all(name)) == 1 for name in HEADERS)
    assert message["To"] == "a@example.org, b@example.org"
    assert str(message["Subject"]).startswith("[Noria error] ")
    assert len(str(message["Subject"])) <= 150
    assert message.get_content_type() == "multipart/alternative"
    plain, page = parts(message)
    for harmful in ("<script", "<img", '/"onclick', "<b>", "javascript:"):
        assert harmful not in page
    for unprintable in "\x00\x1b\u202e\u2028\ufeff":
        assert unprintable not in plain + page


@pytest.mark.parametrize(
    "recipient",
    [
        "a@example.org\nBcc: b@example.org",
        "a@example.org, b@example.org",
        "<a@example.org>",
        "a\u2028@example.org",
        "a",
        "",
    ],
)
def test_a_recipient_is_one_address(recipient: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        to_message(Alert("students", "failed"), [recipient])


@pytest.mark.parametrize("severity", get_args(AlertSeverity))
def test_how_bad_it_is_shows_in_subject_and_colour(smtp: MailServer, severity: AlertSeverity) -> None:
    message = received(smtp, Alert("students", "failed", severity=severity, kind="failed run"), "a@example.org")
    tag, colour = {
        "info": ("[Noria]", "#17406d"),
        "warning": ("[Noria warning]", "#9a5b00"),
        "error": ("[Noria error]", "#b42318"),
        "critical": ("[Noria CRITICAL]", "#7a0c1d"),
    }[severity]
    plain, page = parts(message)
    assert message["Subject"] == f"{tag} students: failed"
    assert f'<td bgcolor="{colour}"' in page
    assert f"{severity.upper()} &middot; failed run" in page
    assert plain.splitlines()[1] == f"{severity}, failed run"
    assert (message["Importance"] == "high") == (severity == "critical")


def test_good_news_is_green() -> None:
    _, page = parts(to_message(Alert("students", "new champion", good=True), ["a@example.org"]))
    assert '<td bgcolor="#1a7f4b"' in page


@pytest.mark.parametrize(
    ("pipeline", "place"),
    [("students", "under alerts in pipeline.yaml"), ("costs", "report.emails in the price sheet"),
     ("noria", "report.emails in the price sheet")],
)  # fmt: skip
def test_it_says_where_its_recipients_are_named(pipeline: str, place: str) -> None:
    _, page = parts(to_message(Alert(pipeline, "half is spent"), ["a@example.org"]))
    footer = re.sub("<[^>]+>", "", page).partition("Sent by Noria. ")[2]
    assert place in footer
    assert ("price sheet" in footer) == (pipeline != "students")


@pytest.mark.parametrize("subject", ["質問と回答 " * 20, "x" * 90 + " “b” é " * 8, "fällt aus  =?_," * 6, "x" * 110])
def test_a_subject_of_any_script_arrives_in_words_that_any_reader_reads(subject: str) -> None:
    alert = Alert("students", subject.strip())
    raw = to_message(alert, ["a@example.org"]).as_bytes()
    lines = re.findall(rb"^Subject: .*(?:\r\n .*)*", raw, re.MULTILINE)[0].split(b"\r\n")
    assert max(map(len, lines)) <= 76 or subject.isascii()
    assert email.message_from_bytes(raw, policy=email.policy.default)["Subject"] == alert.subject


def test_plain_text_fits_78_columns_but_for_addresses_and_logs() -> None:
    sentence = "The candidate was compared with the champion on the rows that neither had seen. " * 3
    address = "http://127.0.0.1:8080/dags/students__retrain/runs/" + "manual" * 20
    alert = Alert(
        "students",
        sentence,
        details=[sentence],
        sections=[(sentence, [sentence])],
        header=tuple(f"Column {n}" for n in range(9)),
        rows=[tuple(f"value {n} {row}" for n in range(9)) for row in range(3)],
        links=[("Run", address)],
    )
    plain, _ = parts(to_message(alert, ["a@example.org"]))
    wide = [line for line in plain.splitlines() if len(line) > 78]
    assert wide == [f"Run: {address}"]
    assert "Column 3  value 3 0  value 3 1  value 3 2" in plain, "a table too wide to stand lies on its side"


def test_a_table_too_wide_for_columns_has_a_line_for_each_cell() -> None:
    alert = Alert("students", "failed", header=("A", "B"), rows=[("x" * 50, "y" * 50), ("z" * 50, "")])
    plain, page = parts(to_message(alert, ["a@example.org"]))
    assert f"A: {'x' * 50}\n  B: {'y' * 50}\nA: {'z' * 50}\n" in plain
    assert html.unescape(page).count('<td class="cell"') == 4


def test_long_words_of_a_table_break_on_a_narrow_screen() -> None:
    _, page = parts(to_message(Alert("s", "x", header=("expectation",), rows=[("mathematics",)]), ["a@example.org"]))
    assert len(re.findall(r"<t[hd] [^>]*word-break:break-word[^>]*>(?:expectation|mathematics)<", page)) == 2
