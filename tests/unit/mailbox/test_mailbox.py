from __future__ import annotations

import json
import smtplib
import socket
import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

from noria.cli import main
from noria.errors import NoriaError
from noria.mailbox import inbox
from noria.mailbox.sink import MailSink, keep


def _mail(subject: str, text: str = "hello") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "noria@localhost", "you@example.org", subject
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message


def _send(port: int, message: EmailMessage) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as smtp:
        smtp.send_message(message)


def test_mail_comes_back_as_it_was_sent_for_its_owner_only(tmp_path: Path) -> None:
    with MailSink(inbox.folder(tmp_path)) as sink:
        _send(sink.port, _mail("Grüße: neuer Champion", "r² 0.88\n.\nzwei Zeilen"))
    (mail,) = inbox.read(tmp_path)
    assert (mail.number, mail.to, mail.subject) == (1, "you@example.org", "Grüße: neuer Champion")
    assert mail.text.splitlines() == ["r² 0.88", ".", "zwei Zeilen"]
    assert mail.path.stat().st_mode & 0o777 == 0o600


def test_many_at_once_are_all_kept(tmp_path: Path) -> None:
    with MailSink(inbox.folder(tmp_path)) as sink:
        senders = [threading.Thread(target=_send, args=(sink.port, _mail(f"number {i}"))) for i in range(12)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert {m.subject for m in inbox.read(tmp_path)} == {f"number {i}" for i in range(12)}
    assert not list(inbox.folder(tmp_path).glob(".*"))


def test_names_sort_by_arrival(tmp_path: Path) -> None:
    paths = [keep(tmp_path, f"Subject: {i}\n\nx".encode()) for i in range(20)]
    assert sorted(paths) == paths


def test_sink_ends_with_its_context_and_listens_on_loopback_only(tmp_path: Path) -> None:
    with MailSink(tmp_path) as sink:
        port = sink.port
        with pytest.raises(OSError), socket.create_connection((_outward_address(), port), timeout=2):
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def _outward_address() -> str:
    """Another address of this machine; any of 127/8 beside 127.0.0.1 where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])


def test_taken_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NoriaError, match=str(port)), MailSink(tmp_path, port):
            pass


def test_mail_that_cannot_be_kept_is_refused_for_now(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    with MailSink(folder) as sink:
        folder.rmdir()
        with pytest.raises(smtplib.SMTPDataError) as refused:
            _send(sink.port, _mail("lost"))
    assert refused.value.smtp_code == 452


def test_inbox_lists_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["--home", str(tmp_path)]
    assert main(["inbox", *home]) == 0
    assert "no mails" in capsys.readouterr().out
    assert main(["inbox", "--last", *home]) == 2
    assert "empty" in capsys.readouterr().err
    inbox.folder(tmp_path).mkdir()
    for subject in ("first", "second"):
        keep(inbox.folder(tmp_path), _mail(subject, f"text of {subject}").as_bytes())
    assert main(["inbox", "--json", *home]) == 0
    listed = json.loads(capsys.readouterr().out)["mails"]
    assert [(m["number"], m["subject"], m["to"]) for m in listed] == [
        (1, "first", "you@example.org"),
        (2, "second", "you@example.org"),
    ]
    assert main(["inbox", "1", *home]) == 0
    assert "text of first" in capsys.readouterr().out
    assert main(["inbox", "--last", "--json", *home]) == 0
    assert json.loads(capsys.readouterr().out)["text"].strip() == "text of second"
    assert main(["inbox", "3", *home]) == 2
    assert "from 1 to 2" in capsys.readouterr().err


def test_damaged_mail_does_not_hide_the_others(tmp_path: Path) -> None:
    inbox.folder(tmp_path).mkdir()
    keep(inbox.folder(tmp_path), b"\xff\xfe not a mail at all")
    keep(inbox.folder(tmp_path), _mail("good").as_bytes())
    assert [m.subject for m in inbox.read(tmp_path)] == ["(no subject)", "good"]
