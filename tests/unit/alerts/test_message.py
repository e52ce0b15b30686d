"""How an alert arrives: what names and errors hold cannot change the mail around them."""

import pytest

from noria.alerts import Alert, to_message


def test_text_from_outside_stays_text() -> None:
    alert = Alert(
        "students",
        "failed\r\nBcc: everybody@example.org\n\x0bmore\u2028",
        details=["<script>alert(1)</script>"],
        header=("A", "B"),
        rows=[("<b>", "&")],
        links=[("Run", 'http://x/"onclick=')],
        log_stage="ingest",
        log=["<img src=x onerror=alert(1)>"],
    )
    message = to_message(alert, ["a@example.org", "b@example.org"])
    headers, _, _ = message.as_bytes().partition(b"\r\n\r\n")

    assert b"\nBcc:" not in headers
    assert message["Subject"] == "[Noria error] students: failed Bcc: everybody@example.org more "
    assert message["To"] == "a@example.org, b@example.org"
    assert message.get_content_type() == "multipart/alternative"
    plain, page = (part.get_content() for part in message.iter_parts())
    assert "<script>alert(1)</script>" in plain
    assert "<script>" not in page
    assert "<img" not in page
    assert '/"onclick' not in page


def test_a_long_story_has_a_short_subject() -> None:
    subject = Alert("students", "the run failed in train: " + "x" * 400).subject
    assert len(subject) == 150
    assert subject.endswith("…")


@pytest.mark.parametrize("recipient", ["a@example.org\nBcc: b@example.org", "a@example.org, b@example.org", "a", ""])
def test_a_recipient_is_one_address(recipient: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        to_message(Alert("students", "failed"), [recipient])
