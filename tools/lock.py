"""Compiles every requirements*.in into a lock with hashes, for all platforms and Python 3.11 to 3.13."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = (
    "requirements",
    "requirements/uv",
    "requirements/java",
    "requirements/test",
    "requirements/azureml",
    "requirements/login",
)
BESIDE = ("requirements/login",)
"""Locks that are installed beside requirements.txt and leave out what stands there."""


def left_out(lock: str) -> list[str]:
    """Options that keep out of a lock what another one has already."""
    if lock not in BESIDE:
        return []
    names = re.findall(r"(?m)^([A-Za-z0-9._-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"))
    return [word for name in names for word in ("--no-emit-package", name)]


def main() -> int:
    """Compile all locks in the order in which they constrain each other; the exit code."""
    uv = Path(sys.executable).parent / "uv"
    environment = {**os.environ, "UV_CUSTOM_COMPILE_COMMAND": "make lock", "UV_PYTHON_DOWNLOADS": "never"}
    options = ["--quiet", "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
    for lock in LOCKS:
        print(f"lock: {lock}.txt", flush=True)
        arguments = [str(uv), "pip", "compile", *options, f"{lock}.in", "--output-file", f"{lock}.txt", *sys.argv[1:]]
        arguments += left_out(lock)
        code = subprocess.run(arguments, cwd=ROOT, env=environment, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
