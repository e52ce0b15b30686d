"""Days as people write them."""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime


def parse_day(text: str) -> date:
    """A day of the command line, such as 2026-11-01.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; expected one such as 2026-11-01") from None
