"""What is asked again, and with which token; refusals are those of a real server."""

from __future__ import annotations

from functools import cached_property

import pytest

from noria.azure import AzureConnection
from noria.azure.errors import Service, explained
from noria.azure.renewal import Renewing
from noria.errors import AccessError, UnavailableError
from tests.unit.azure.test_errors import Answer, Server, _arm, _ask_arm, running, server

__all__ = ["running", "server"]
TOKEN_REFUSED = _arm("InvalidAuthenticationToken", "The token is not valid.", 401)


class Client(Renewing):
    """Asks a server that answers in turn; counts the credentials that it has made."""

    def __init__(self, server: Server, *answers: Answer) -> None:
        self._connection = AzureConnection("azure_costs")
        self._server, self._answers = server, list(answers)
        self.credentials, self.asked, self.looks = 0, 0, 0

    @cached_property
    def _sdk(self) -> int:
        self.credentials += 1
        return self.credentials

    def ask(self) -> str:
        return self._until_answered(self._request, self._look, lambda _error, _failures: 0.0, 60)

    def _request(self) -> str:
        assert self._sdk
        self.asked += 1
        self._server.answer = self._answers.pop(0) if self._answers else Answer(200)
        with explained("Cost Management", Service.COSTS):
            _ask_arm(self._server)
        return f"answered to credential {self._sdk}"

    def _look(self) -> str | None:
        self.looks += 1
        return "found" if self.looks == 3 else None


def test_a_refused_token_is_renewed_once_and_what_passes_is_asked_again(server: Server) -> None:
    busy = _arm("ServerBusy", "busy", 503)
    assert Client(server, busy, TOKEN_REFUSED).ask() == "answered to credential 2"
    client = Client(server, TOKEN_REFUSED, TOKEN_REFUSED, TOKEN_REFUSED)
    with pytest.raises(AccessError):
        client.ask()
    assert (client.asked, client.credentials) == (2, 2)


@pytest.mark.parametrize(
    "answer",
    [
        _arm("RBACAccessDenied", "The client does not have authorization to perform action.", 401),
        _arm("Unauthorized", "The principal does not have the required Synapse RBAC permission.", 401),
        _arm("AuthorizationFailed", "no", 403),
    ],
)
def test_a_role_that_is_missing_is_no_matter_of_the_token(server: Server, answer: Answer) -> None:
    client = Client(server, answer)
    with pytest.raises(AccessError):
        client.ask()
    assert (client.asked, client.credentials) == (1, 1)


def test_what_was_done_without_a_good_answer_is_found(server: Server) -> None:
    client = Client(server, *[_arm("ServerBusy", "busy", 503)] * 9)
    assert client.ask() == "found"
    assert client.asked == 3


def test_patience_has_an_end(server: Server) -> None:
    client = Client(server, _arm("ServerBusy", "busy", 503))
    with pytest.raises(UnavailableError):
        client._until_answered(client._request, client._look, lambda _error, _failures: 61.0, 60)
    assert client.asked == 1
