"""What a running launcher tells others about itself, and a later one about what a killed one left: launcher.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from noria.launcher.credentials import write_private
from noria.launcher.processes import ProcessId, find


@dataclass(frozen=True)
class LauncherState:
    """One launcher.

    Attributes:
        launcher: Its own process.
        url: Of the UI.
        smtp_port: Of its mail sink.
        components: Processes it has started, each the head of a tree.
    """

    launcher: ProcessId
    url: str
    smtp_port: int
    components: list[ProcessId]

    @property
    def is_running(self) -> bool:
        """Whether the launcher itself is there."""
        return find(self.launcher) is not None

    def save(self, home: Path) -> None:
        """Write it, for its owner only."""
        write_private(path(home), json.dumps(asdict(self)))

    @classmethod
    def load(cls, home: Path) -> LauncherState | None:
        """The last launcher of a home that did not end well or still runs; none if there is none."""
        try:
            return cls(**json.loads(path(home).read_text()))
        except (OSError, ValueError, TypeError):
            return None


def path(home: Path) -> Path:
    """Where it is kept."""
    return home / "launcher.json"
