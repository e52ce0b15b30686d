"""Asking people in the Airflow UI: who may answer, how long there is, and what an answer has to have."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException

from noria.records import NOBODY

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

LONGEST_REASON = 1000
REASON = "reason"
"""The form's only field."""


class AskingOperator(ApprovalOperator):
    """Base of operators that put a question whose answer is yes or no. No answer in time is a no; a yes needs a reason.

    Args:
        pipeline: Name of the pipeline.
        approvers: Names of Airflow users who may answer; none leaves it to everyone who may act on the DAG.
        timeout_hours: How long they are waited for.
        notifier: Tells them.
    """

    ui_color = "#fff3cd"

    def __init__(
        self, *, pipeline: str, approvers: Sequence[str], timeout_hours: float, notifier: BaseNotifier, **kwargs: Any
    ) -> None:
        kwargs["params"] = {REASON: _reason()}  # without those of the DAG's form, which Airflow has put there
        super().__init__(
            defaults=self.REJECT,
            response_timeout=timedelta(hours=timeout_hours),
            notifiers=[notifier],
            **kwargs,
        )
        self.pipeline = pipeline
        self.allow(approvers, timeout_hours)

    def allow(self, approvers: Sequence[str], timeout_hours: float) -> None:
        """Say anew who may answer, and for how long: a run may be stricter than the folder."""
        self.timeout_hours = timeout_hours
        self.assigned_users = [{"id": name, "name": name} for name in approvers]

    def time_left(self, since: datetime, now: datetime) -> timedelta:
        """Of the time to answer, which begins once: a question that is put again ends no later."""
        return since + timedelta(hours=self.timeout_hours) - now

    def answer(self, context: Context, event: dict[str, Any]) -> tuple[bool, str, str]:
        """Whether it was approved, by whom, and why.

        Raises:
            AirflowException: It was a yes without a reason; Airflow puts the question again.
        """
        if event.get("timedout"):
            return False, NOBODY, self.too_late
        given = {key: value for key, value in (event.get("params_input") or {}).items() if value}
        # The base class's own way skips what follows a no; here a no has consequences of its own.
        HITLOperator.execute_complete(self, context, {**event, "params_input": given})
        approved = event["chosen_options"] == [self.APPROVE]
        reason = " ".join(str(given.get(REASON, "")).split())
        if approved and not reason:
            raise AirflowException("it was approved without a reason, so the question is put again")
        user = event["responded_by_user"]  # approvers are named by the id that Airflow knows them by
        return approved, str(user["id"] if self.assigned_users else user["name"]), reason or "no reason given"

    @property
    def too_late(self) -> str:
        """The reason where nobody has answered."""
        return f"no answer within {self.timeout_hours:g} hours"


def _reason() -> Param:
    """The form's field; empty is valid, since Airflow checks a task's params before anyone is asked."""
    return Param(
        None,
        type=["null", "string"],
        minLength=1,
        maxLength=LONGEST_REASON,
        title="Reason",
        description="Why. To approve, there has to be one; it is kept with your name.",
    )
