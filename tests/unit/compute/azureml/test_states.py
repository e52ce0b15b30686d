"""Which failures of a job on Azure ML another try may mend."""

from __future__ import annotations

import pytest

from noria.azure.errors import Service, refused
from noria.compute.azureml.states import may_pass

EXIT = "Execution failed. User process 'python' exited with status code {}. Please check log file."


@pytest.mark.parametrize(
    ("code", "message", "passes"),
    [
        ("UserError", EXIT.format(1), True),
        ("UserError", EXIT.format(137), True),
        ("UserError", EXIT.format(2), False),
        ("UserError", EXIT.format(4), False),
        ("UserError", "The number of failed mini batches (1) is over the threshold (0).", False),
        ("UserError", "Image build failed. For more details, check log file", False),
        ("ServiceError", "Failed to build the image of environment noria", False),
        ("QuotaExceeded", "", False),
        ("AuthorizationFailed", "", False),
        ("AllocationFailed", "", True),
        ("ServiceError", "InternalServerError", True),
        ("SystemError", "The node was lost", True),
        ("", "nobody knows", True),
    ],
)
def test_a_failure_says_whether_another_job_may_do_better(code: str, message: str, *, passes: bool) -> None:
    reason = refused("job x failed", Service.ML, code=code, message=message)
    assert may_pass(reason, code, message) is passes
