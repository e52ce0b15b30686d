"""A token that a service refuses although it has not expired by this clock: it is forgotten, and asked for anew once.

azure.core forgets the token too, but asks the same credential, which keeps one until five minutes before it expires and
gives the same again. So the credential itself is made anew, and with it the clients that hold it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from noria.azure.connection import AzureConnection
from noria.azure.reading import read_exception
from noria.errors import AccessError


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
    """Whether a service has answered 401, which is about the token and not about roles."""
    refusal = read_exception(error.__context__) if isinstance(error.__context__, Exception) else None
    return refusal is not None and refusal.status == 401
