"""Keeps a process on loopback: it maps *.localhost to it and refuses every other name and address.

Python imports this at its start from PYTHONPATH. A refusal names what was looked for, and is written to the file that
NORIA_TWIN_GUARD names, so that a test sees also what the process itself has swallowed.
"""

# ruff: noqa: PTH  (pathlib would cost every process its import)

import importlib.machinery
import importlib.util
import ipaddress
import os
import socket
import sys

_LOOPBACK = ("localhost", "")
_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
_real_getaddrinfo = socket.getaddrinfo
_state = {"file": None, "allows": frozenset(), "hooked": False}


class GuardError(OSError):
    """A process of the twin wanted to reach something outside loopback."""


def install(file, allows=()):
    """Stand guard in this process; `uninstall` ends it."""
    _state["file"], _state["allows"] = file, frozenset(allows)
    socket.getaddrinfo = _getaddrinfo
    if not _state["hooked"]:  # a hook cannot be taken away again; without a file it does nothing
        _state["hooked"] = True
        sys.addaudithook(_audit)


def uninstall():
    """Let everything through again."""
    _state["file"] = None
    socket.getaddrinfo = _real_getaddrinfo


def _getaddrinfo(host, *args, **kwargs):
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if isinstance(name, str):
        if name.lower().rstrip(".").endswith(".localhost"):
            host = "127.0.0.1"
        elif not _is_near(name):
            _refuse(name)
    return _real_getaddrinfo(host, *args, **kwargs)


def _is_near(host):
    """Whether a name or an address is this machine, or is allowed."""
    bare = host.lower().rstrip(".")
    if bare in _LOOPBACK or bare.endswith(".localhost") or bare in _state["allows"]:
        return True
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return bare in _own_names()
    return address.is_loopback or address.is_unspecified or _is_own(bare)


def _own_names():
    name = socket.gethostname().lower()
    return (name, name.partition(".")[0])


def _is_own(address):
    """Whether an address is one of this machine's: only then it can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _audit(event, arguments):
    if event not in _EVENTS or _state["file"] is None:
        return
    sock, address = arguments[0], arguments[1]
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return
    if event == "socket.connect" and sock.type & 0xF == socket.SOCK_DGRAM:
        return  # sends nothing: it is how a program asks for its own address
    host = address[0]
    if not _state["allows"] and not _is_near(host):
        _refuse(f"{host}:{address[1]}")


def _refuse(what):
    program = " ".join(sys.argv[:3]) if hasattr(sys, "argv") else sys.executable
    with open(_state["file"], "a") as file:
        file.write(f"{what}\tprocess {os.getpid()}: {program}\n")
    raise GuardError(f"the offline twin keeps this process on loopback, and it wanted to reach {what}")


def _chain():
    """Run the sitecustomize that this one hides, if there is any."""
    here = os.path.dirname(os.path.abspath(__file__))
    rest = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    if os.environ.get("NORIA_TWIN_GUARD"):
        install(
            os.environ["NORIA_TWIN_GUARD"],
            [name for name in os.environ.get("NORIA_TWIN_GUARD_ALLOWS", "").split(",") if name],
        )
    _chain()
