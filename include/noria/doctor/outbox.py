"""Whether mails reach those who shall read them."""

from __future__ import annotations

from datetime import datetime

from noria.alerts.state import look
from noria.doctor.finding import Verdict
from noria.lake import Lake


def check_outbox(lake: Lake, now: datetime) -> Verdict:
    """Nothing waits that should have been sent, and no address is one that no server takes."""
    state = look(lake, now)
    if state.undeliverable:
        some = ", ".join(lake.url(path) for path in state.undeliverable[:3])
        more = f" and {len(state.undeliverable) - 3} more" if len(state.undeliverable) > 3 else ""
        remedy = (
            "Read in the files why and mend it: alerts.emails in pipeline.yaml, or the server. Then move those of "
            "outbox/undeliverable/ to outbox/waiting/, which sends them again, or remove them."
        )
        return "warn", f"mails that could not be delivered: {some}{more}", remedy
    if state.trouble:
        return (
            "warn",
            f"{_mails(state.overdue + state.arrived)}, because the server cannot be used, {state.trouble}",
            "Mend the server or the connection smtp_default; the DAG send_alerts then sends them.",
        )
    if state.overdue and state.refused:
        detail = f"{_mails(state.overdue)} to be sent; one was not taken: {state.refused}"
        return "warn", detail, "It is tried again, for five days; mend alerts.emails in pipeline.yaml, or the server."
    if state.overdue:
        return "warn", f"{_mails(state.overdue)} to be sent", "See that the DAG send_alerts is not paused."
    return "ok", f"nothing should have been sent by now; {state.held} held for the end of quiet hours", ""


def _mails(count: int) -> str:
    return "1 mail waits" if count == 1 else f"{count} mails wait"
