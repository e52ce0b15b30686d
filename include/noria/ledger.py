"""The history of promotions: an append-only Delta table in the lake, `ledger/promotions`, one row a decision.

It says for any moment which model was champion, and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from noria.lake import Lake
from noria.records import LedgerEntry
from noria.verdicts import Keyring

PATH = "ledger/promotions"


class Ledger:
    """The history of one pipeline.

    Args:
        lake: Where the table is.
        pipeline: Name of the pipeline.
        keyring: What entries are signed with.
    """

    def __init__(self, lake: Lake, pipeline: str, keyring: Keyring) -> None:
        self._lake, self._pipeline, self._keyring = lake, pipeline, keyring

    def append(self, entry: LedgerEntry) -> None:
        """Add an entry, signed and chained to the one before it; a repeated call for the same one changes nothing."""
        raise NotImplementedError

    def entries(self) -> Sequence[LedgerEntry]:
        """All entries, the oldest first."""
        raise NotImplementedError

    def champion_at(self, moment: datetime) -> LedgerEntry | None:
        """The entry that made the champion of a moment, or none."""
        raise NotImplementedError

    def looks(self, champion: str | None, holdout_sha256: str, *, besides: str) -> int:
        """How many other model files than `besides` were judged against a champion on one holdout."""
        raise NotImplementedError

    def audit(self) -> list[str]:
        """Entries that were changed, forged or taken out, a sentence each; none where all is well."""
        raise NotImplementedError
