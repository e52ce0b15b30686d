"""`python -m tests.azure.twin`: the offline twin for people, and the child process behind tests.

python -m tests.azure.twin                  runs until a signal; prints a file to source
python -m tests.azure.twin -- COMMAND ...   runs COMMAND on the twin, and ends with its exit code
"""

from __future__ import annotations

import sys

from tests.azure.twin.command import main

if __name__ == "__main__":
    sys.exit(main())
