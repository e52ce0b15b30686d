"""Keeps a process on loopback: *.localhost is there, and every other name and address is refused.

Python imports this at its start from PYTHONPATH. A refusal names what was looked for, and is written to the file that
NORIA_TWIN_GUARD names, so that a test sees also what the process itself has swallowed. What native code does without
Python's sockets (a JVM, gRPC) is not seen.
"""

# ruff: noqa: PTH123, PTH120, PTH100

import importlib.machinery
import os
import socket
import sys

_real_getaddrinfo = socket.getaddrinfo
_state = {"file": None, "hooked": False}


class GuardError(OSError):
    """A process of the twin wanted to reach something outside loopback."""


def install(file):
    """Stand guard in this process; `uninstall` ends it."""
    _state["file"] = file
    socket.getaddrinfo = _getaddrinfo
    if not _state["hooked"]:  # a hook cannot be taken away again; without a file it does nothing
        _state["hooked"] = True
        sys.addaudithook(_audit)


def uninstall():
    """Let everything through again."""
    _state["file"] = None
    socket.getaddrinfo = _real_getaddrinfo


def _getaddrinfo(host, *args, **kwargs):
    """Resolves *.localhost, which not every system does."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    near = isinstance(name, str) and name.lower().rstrip(".").endswith(".localhost")
    return _real_getaddrinfo("127.0.0.1" if near else host, *args, **kwargs)


def _audit(event, arguments):
    """Python tells of every look-up and every connection before it happens, whoever asks for it."""
    if not event.startswith("socket.") or _state["file"] is None:
        return
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        _check(arguments[0])
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        sock, address = arguments
        asks_only = event == "socket.connect" and sock.type & 0xF == socket.SOCK_DGRAM
        if isinstance(address, tuple) and not asks_only:  # connecting a datagram socket sends nothing
            _check(address[0], f"{address[0]}:{address[1]}")


def _check(host, what=None):
    host = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if isinstance(host, str) and not _is_near(host.lower().rstrip(".")):
        _refuse(what or host)


def _is_near(host):
    """Whether a name or an address is this machine."""
    if host in ("localhost", "") or host.endswith(".localhost"):
        return True
    import ipaddress

    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        own = socket.gethostname().lower()
        return host in (own, own.partition(".")[0])
    return address.is_loopback or address.is_unspecified or _is_own(host)


def _is_own(address):
    """Whether an address is one of this machine's: only then it can be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _refuse(what):
    program = " ".join(getattr(sys, "argv", [])[:3]) or sys.executable
    with open(_state["file"], "a") as file:
        file.write(f"{what}\tprocess {os.getpid()}: {program}\n")
    raise GuardError(f"the offline twin keeps this process on loopback, and it wanted to reach {what}")


def _chain():
    """Run the sitecustomize that this one hides, if there is any."""
    here = os.path.dirname(os.path.abspath(__file__))
    rest = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec

        spec.loader.exec_module(module_from_spec(spec))


if __name__ == "sitecustomize":
    if os.environ.get("NORIA_TWIN_GUARD"):
        install(os.environ["NORIA_TWIN_GUARD"])
    _chain()
