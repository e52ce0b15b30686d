"""`python -m noria.launcher.warden`: ends Airflow's components when the launcher died without doing so.

Its standard input is a pipe from the launcher: a line of JSON for each component, and its end when the launcher is
gone, however it went. A component that has ended by then is no concern of the warden's.
"""

from __future__ import annotations

import json
import signal
import sys

from noria.launcher.processes import end_trees, find


def main() -> None:
    """Wait for the launcher's end, then clear up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it outlives the launcher on purpose, then ends by itself
    identities = [json.loads(line) for line in sys.stdin]
    end_trees(process for identity in identities if (process := find(identity)))


if __name__ == "__main__":
    main()
