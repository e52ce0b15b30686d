"""Two policies about one approval: neither loosens the other."""

import pytest

from noria.pipeline import NO_ONE, ApprovalPolicy, approval_of

ANYONE, ADA, BOTH = (), ("ada",), ("ada", "grace")


@pytest.mark.parametrize(
    ("one", "other", "approvers"),
    [
        (ANYONE, ANYONE, ANYONE),
        (ANYONE, ADA, ADA),
        (BOTH, ADA, ADA),
        (ADA, ("grace",), (NO_ONE,)),
    ],
)
def test_who_may(one: tuple[str, ...], other: tuple[str, ...], approvers: tuple[str, ...]) -> None:
    policies = [ApprovalPolicy(approvers=names) for names in (one, other)]
    for pair in (policies, policies[::-1]):
        found = approval_of(*pair)
        assert found is not None and found.approvers == approvers


def test_who_asks_is_heard_and_the_shorter_time_holds() -> None:
    day, hour = ApprovalPolicy(timeout_hours=24, approvers=ADA), ApprovalPolicy(timeout_hours=1)
    assert approval_of(None, None) is None
    assert approval_of(None, day) == approval_of(day, None) == day
    assert approval_of(day, hour) == ApprovalPolicy(timeout_hours=1, approvers=ADA)
