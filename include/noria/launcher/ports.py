"""Free ports on loopback."""

from __future__ import annotations

import socket

from noria.errors import InputError
from noria.launcher.environment import HOST

USUAL_PORT = 8080


def choose_port(wanted: int | None) -> int:
    """The port asked for, else 8080 if it is free, else any free one.

    Raises:
        InputError: The port asked for is taken or not allowed.
    """
    if wanted is not None:
        try:
            return _bind(wanted)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise InputError(
                f"port {wanted} on {HOST}: {reason}",
                remedy="Name another one (make run PORT=8081), or none, then a free one is taken.",
            ) from None
    return USUAL_PORT if is_free(USUAL_PORT) else _bind(0)


def is_free(port: int) -> bool:
    """Whether something could listen there now; 0 asks for any port at all."""
    try:
        _bind(port)
    except OSError:
        return False
    return True


def _bind(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        return int(probe.getsockname()[1])
