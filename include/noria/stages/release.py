"""Carry out what a person said of a candidate that waits."""

from __future__ import annotations

from noria.records import Decision, Run
from noria.workspace import Workspace


def release(run: Run, workspace: Workspace) -> Decision:
    """Judge the candidate once more and, where it was approved and still wins, make it the champion.

    What was not approved, or not in time, keeps the champion, and so does a champion that is another one than the
    person saw.

    Raises:
        BusyError: Another promotion of this pipeline does not end.
        VerdictError: The approval was changed after it was signed, or is for another model.
        StorageError: The registry or the lake refused, or there is no decision of `promote` yet.
    """
    raise NotImplementedError
