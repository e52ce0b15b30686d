"""Makes .venv from the committed locks; needs nothing but Python and the package registry.

    python3 tools/setup.py [--test] [--twin]

Azurite, which the offline twin of Azure needs, comes from npm where Node.js is there; without it the twin is left out.
Nothing outside the checkout is changed. When the locks are as they were, nothing is done. The syntax is kept old, so that
an old Python can say what is wrong with it.
"""

# ruff: noqa: UP032, E501

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)
SUPPORTED = "Python 3.11, 3.12 or 3.13"
JAVA_NEEDED = 17
NODE_NEEDED = 20
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "noria-setup.json"
LOGIN = VENV / "login"
OTHERS = ("requirements/login.txt",)
LOCK = ROOT / ".cache" / "setup.lock"
AZURITE = ROOT / "tools" / "azurite"
HINTS = [
    (
        r"certificate|unknownissuer",
        "The registry's certificate is not trusted. If your network has a certificate authority of its own, name its "
        "bundle: SSL_CERT_FILE=/path/ca.pem PIP_CERT=/path/ca.pem, or UV_SYSTEM_CERTS=1 for the system's.",
    ),
    (r"no space left|disk quota", "The disk is full: about 3 GB are needed below {root}."),
    (
        r"dns error|name resolution|could not connect|connection (refused|reset)|timed? ?out|unreachable|newconnectionerror|proxy|no matching distribution|error sending request|failed to fetch|ENOTFOUND|EAI_AGAIN|ECONNREFUSED",
        "The package registry could not be reached. Check the network; behind a proxy or with a mirror set HTTPS_PROXY, "
        "UV_INDEX_URL, PIP_INDEX_URL and npm_config_registry. Run again: what was downloaded is kept.",
    ),
    (
        r"hash mismatch|do not match the hashes|EINTEGRITY",
        "A package is not the one that was locked: the registry served other bytes.",
    ),
    (r"permission denied|read-only file system", "No permission to write below {root}."),
]


class SetupError(Exception):
    """What went wrong and what to do."""


def main():
    """Set up and say how long it took; the exit code."""
    parser = argparse.ArgumentParser(description="Make .venv from the committed locks.")
    parser.add_argument("--test", action="store_true", help="the test tools as well, with Azurite")
    parser.add_argument("--twin", action="store_true", help="Azurite as well")
    arguments = parser.parse_args()
    try:
        check_python()
        LOCK.parent.mkdir(parents=True, exist_ok=True)
        with LOCK.open("w") as lock:
            take(lock)
            set_up(test=arguments.test)
            if arguments.test or arguments.twin:
                set_up_azurite()
    except SetupError as error:
        print("setup: " + str(error), file=sys.stderr)
        return 1
    except OSError as error:
        print("setup: {}{}".format(error, hint(str(error))), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        return 1
    return 0


def check_python():
    """Go on with a supported Python: this one, else one of PATH."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return
    for minor in (12, 13, 11):
        other = shutil.which("python3.{}".format(minor))
        if other:
            os.execv(other, [other, *sys.argv])  # noqa: S606
    version = "{}.{}.{}".format(*sys.version_info[:3])
    raise SetupError(
        "this is Python {} ({}); {} is needed. Install one, or name it: make setup PYTHON=/path/to/python3.12".format(
            version, sys.executable, SUPPORTED
        )
    )


def take(lock):
    """Wait until no other set-up works on this checkout."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another set-up of this checkout is running; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)


def set_up(test):
    """Bring .venv to what the locks say."""
    started = time.monotonic()
    requirements = ["requirements.txt"]
    done = read_stamp()
    if test or done.get("java") or not system_java():
        requirements.append("requirements/java.txt")
    if test or done.get("test"):
        requirements.append("requirements/test.txt")
    wanted = {
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "place": str(VENV),
        "test": "requirements/test.txt" in requirements,
        "java": "requirements/java.txt" in requirements,
        "hashes": {f: digest(ROOT / f) for f in [*requirements, *OTHERS, "requirements/uv.txt", "pyproject.toml"]},
    }
    if done == wanted:
        return
    with contextlib.suppress(FileNotFoundError):
        STAMP.unlink()
    if done.get("python") != wanted["python"] or not venv_works():
        make_venv()
    install_uv()
    install(requirements)
    if wanted["test"]:
        install_login()
    STAMP.write_text(json.dumps(wanted, indent=1))
    say("ready in {:.0f} s".format(time.monotonic() - started))


def set_up_azurite():
    """Bring Azurite to what its lock says; what goes wrong here is told and stops nothing else."""
    stamp = AZURITE / "node_modules" / "noria-setup.json"
    wanted = {"place": str(AZURITE), "hash": digest(AZURITE / "package-lock.json")}
    with contextlib.suppress(OSError, ValueError):
        if json.loads(stamp.read_text()) == wanted:
            return
    missing = node_missing()
    if missing:
        say("the offline twin of Azure is left out: {}. Install Node.js {} or later".format(missing, NODE_NEEDED))
        return
    started = time.monotonic()
    say("installing Azurite for the offline twin of Azure (130 MB)")
    npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    try:
        command(npm, cwd=AZURITE)
    except SetupError as error:
        say("the offline twin of Azure is left out: {}".format(error))
        return
    stamp.write_text(json.dumps(wanted, indent=1))
    say("Azurite is ready in {:.0f} s".format(time.monotonic() - started))


def node_missing():
    """What there is not of Node.js; nothing if all is there."""
    for program in ("node", "npm"):
        if not shutil.which(program):
            return "there is no `{}` on PATH".format(program)
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    version = re.match(r"v(\d+)\.", said)
    if version is None or int(version.group(1)) < NODE_NEEDED:
        return "Node.js here is {}".format(said or "broken")
    return ""


def read_stamp():
    """What the last complete set-up made; empty if it was interrupted or its venv is gone."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if stamp.get("place") == str(VENV) and venv_works() else {}


def venv_works():
    """Whether .venv has a Python of this version that runs and can install."""
    check = "import sys, pip; print('{}.{}.{} {}'.format(*sys.version_info[:3], sys.prefix))"
    try:
        said = subprocess.run(
            [str(VENV / "bin" / "python"), "-c", check], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.stdout.strip() == "{}.{}.{} {}".format(*sys.version_info[:3], VENV)


def make_venv():
    """A fresh .venv of this Python."""
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            raise SetupError(
                "{} has no module {!r}. On Debian and Ubuntu: sudo apt install python3-venv".format(
                    sys.executable, module
                )
            ) from None
    say("making .venv with Python {}.{}.{}".format(*sys.version_info[:3]))
    command([sys.executable, "-m", "venv", "--clear", str(VENV)])


def install_uv():
    """The installer itself, by pip and by hash, unless it is the locked one already."""
    locked = re.search(r"^uv==(\S+)", (ROOT / "requirements" / "uv.txt").read_text(), re.MULTILINE).group(1)
    with contextlib.suppress(OSError):
        present = subprocess.run([str(VENV / "bin" / "uv"), "--version"], capture_output=True, text=True, check=False)
        if present.stdout.split()[1:2] == [locked]:
            return
    say("installing the installer, uv {}".format(locked))
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command([*pip, "--no-cache-dir", "--require-hashes", "--no-deps", "-r", "requirements/uv.txt"])


def install(requirements):
    """What the locks name, then the project itself."""
    count = sum(len(re.findall(r"^[a-zA-Z0-9]\S*==", (ROOT / f).read_text(), re.MULTILINE)) for f in requirements)
    say("installing {} locked packages (about 1 GB to download the first time)".format(count))
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(VENV / "bin" / "python"), "--quiet"]
    files = [argument for file in requirements for argument in ("-r", file)]
    command([*uv, "--require-hashes", "--no-deps", *files])
    command([*uv, "--no-deps", "--no-build-isolation", "--editable", "."])


def install_login():
    """What only the compose deployment has, in a folder of its own, so that one test can add it to Airflow's path."""
    shutil.rmtree(str(LOGIN), ignore_errors=True)
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(VENV / "bin" / "python"), "--quiet"]
    command([*uv, "--target", str(LOGIN), "--require-hashes", "--no-deps", "-r", "requirements/login.txt"])


def system_java():
    """Whether the machine has a Java that Spark can run on."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not java:
        return False
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    version = re.search(r'version "(\d+)', said.stderr)
    return version is not None and int(version.group(1)) >= JAVA_NEEDED


def command(arguments, cwd=ROOT):
    """Run one step, showing what it says; on failure say what can be done."""
    environment = dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_NO_PROGRESS="1")
    environment.setdefault("npm_config_cache", str(ROOT / ".cache" / "npm"))
    environment.setdefault("UV_CACHE_DIR", str(ROOT / ".cache" / "uv"))
    environment.setdefault("UV_LINK_MODE", "hardlink" if same_device(environment["UV_CACHE_DIR"]) else "copy")
    environment.pop("VIRTUAL_ENV", None)
    process = subprocess.Popen(
        arguments,
        cwd=str(cwd),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    lines = []
    for line in process.stderr:
        sys.stderr.write(line)
        lines.append(line)
    if process.wait() != 0:
        raise SetupError("{} failed{}".format(" ".join(arguments[:4]), hint("".join(lines))))


def same_device(cache):
    """Whether files of the cache can be linked into .venv."""
    Path(cache).mkdir(parents=True, exist_ok=True)
    return Path(cache).stat().st_dev == ROOT.stat().st_dev


def hint(text):
    """What a person can do about a failed step."""
    for pattern, advice in HINTS:
        if re.search(pattern, text, re.IGNORECASE):
            return ". " + advice.format(root=ROOT)
    return ""


def digest(path):
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(text):
    """One line of progress."""
    print("setup: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
