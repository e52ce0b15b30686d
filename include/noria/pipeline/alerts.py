"""Who hears of what a pipeline's runs do, and when, as pipeline.yaml declares it."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from noria.pipeline.base import Model

AlertSeverity = Literal["info", "warning", "error", "critical"]
SEVERITIES: tuple[AlertSeverity, ...] = ("info", "warning", "error", "critical")
"""The mildest first."""
_WORD, _LABEL = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", "[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
ADDRESS = rf"^{_WORD}(?:\.{_WORD})*@{_LABEL}(?:\.{_LABEL})*$"
"""RFC 5322, 3.4.1, without quotes; other characters than ASCII's are for few servers (RFC 6531)."""
EmailAddress = Annotated[str, Field(pattern=ADDRESS, max_length=254)]
Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class QuietHours(Model):
    """When mails are kept for the digest at the end of these hours; critical ones are sent at once."""

    start: Clock = Field(description="For example 22:00.")
    end: Clock = Field(description="For example 07:00; earlier than start: the next morning.")
    timezone: str = Field("UTC", description="For example Europe/Vienna.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            zoneinfo.ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is no time zone; expected a name such as Europe/Vienna") from None
        return name

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.start == self.end:
            raise ValueError(f"start and end are both {self.start}; expected two times, or no quiet_hours")
        return self


class Alerts(Model):
    """Who hears of failed runs, failed validation, rejected candidates, new champions, budgets and late runs."""

    emails: tuple[EmailAddress, ...] = ()
    least_severity: AlertSeverity = Field("info", description="Milder ones are not mailed.")
    quiet_hours: QuietHours | None = Field(None, description="When only critical mails are sent.")
    deadline_minutes: float | None = Field(
        None, gt=0, le=60 * 24 * 7, description="A run that takes longer is told of as late; it goes on."
    )
