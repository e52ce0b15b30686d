"""Asking a service until there is an answer, also where it refuses a token that has not expired by this clock.

Such a token is forgotten, and asked for anew once.

azure.core forgets the token too, but asks the same credential, which keeps one until five minutes before it expires and
gives the same again. So the credential itself is made anew, and with it the clients that hold it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from noria.azure.connection import AzureConnection
from noria.azure.kinds import Kind, kind_of
from noria.azure.reading import read_exception
from noria.errors import AccessError, UnavailableError

log = logging.getLogger(__name__)
T = TypeVar("T")


class Renewing:
    """Base of what keeps clients of a connection as cached properties."""

    _connection: AzureConnection

    def _forget_tokens(self) -> None:
        """Use another credential, and other clients."""
        self._connection = dataclasses.replace(self._connection)
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, functools.cached_property):
                    vars(self).pop(name, None)

    def _until_answered(
        self,
        what: Callable[[], T],
        look: Callable[[], T | None],
        pause_seconds: Callable[[UnavailableError, int], float],
        patience_seconds: float,
    ) -> T:
        """Ask until there is an answer.

        Args:
            what: The request.
            look: Done before each further try of what may have worked; what it finds is the answer.
            pause_seconds: How long to wait after an error that may pass, given how many there were in a row.
            patience_seconds: When to give up.
        """
        started, has_renewed = time.monotonic(), False
        for failures in itertools.count(1):
            try:
                return what()
            except UnavailableError as error:
                pause = pause_seconds(error, failures)
                if time.monotonic() - started + pause > patience_seconds:
                    raise
                log.info("%s; again in %.1f s", error, pause)
            except AccessError as error:
                if has_renewed or not is_token_refused(error):
                    raise
                self._forget_tokens()
                pause, has_renewed = 0.0, True
            time.sleep(pause)
            if (found := look()) is not None:
                return found
        raise AssertionError("count ended")


P = ParamSpec("P")
R = TypeVar("R")
Owner = TypeVar("Owner", bound=Renewing)


def renewing(method: Callable[Concatenate[Owner, P], R]) -> Callable[Concatenate[Owner, P], R]:
    """Make a method of a Renewing, which may be called again after it failed in its middle, survive a refused token."""

    @functools.wraps(method)
    def call(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except AccessError as error:
            if not is_token_refused(error):
                raise
        self._forget_tokens()
        return method(self, *args, **kwargs)

    return call


def is_token_refused(error: AccessError) -> bool:
    """Whether a service has answered 401 and meant the token; some answer so where a role is missing."""
    refusal = read_exception(error.__context__) if isinstance(error.__context__, Exception) else None
    return refusal is not None and refusal.status == 401 and kind_of(refusal) is not Kind.NOT_ALLOWED
