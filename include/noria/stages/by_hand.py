"""What a person does with a candidate: agree, decline, or promote it against the gate's verdict."""

from __future__ import annotations

from noria.records import Approval, Decision, Run
from noria.workspace import Workspace


def approve(run: Run, workspace: Workspace, *, approved: bool, by: str, reason: str) -> Approval:
    """Keep a person's answer, signed, for the stage `release` to carry out; the first answer stands.

    Raises:
        InputError: Nobody is named, the run's candidate does not wait for approval, or another answer stands already.
    """
    raise NotImplementedError


def force(run: Run, workspace: Workspace, *, by: str, reason: str) -> Decision:
    """Promote a run's candidate whatever the gate says; the registry and every later report tell it for ever.

    The model must still be the one that training left, load, and give finite predictions.

    Raises:
        InputError: No reason, nobody is named, or the model cannot be used.
        BusyError: Another promotion of this pipeline does not end.
    """
    raise NotImplementedError
