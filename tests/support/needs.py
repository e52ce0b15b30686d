"""What a test needs and this machine may not have."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(what: str) -> NoReturn:
    """Skip the test, or fail it where CI is set: there everything is to be tested, and a skip is seen by nobody.

    Args:
        what: What there is not, and what to install.
    """
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI is set, so this is not skipped.)", pytrace=False)
    pytest.skip(what)
