"""What Azure ML's own driver does with an entry script in a worker process: load it, `init()`, `run(mini_batch)`."""

import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    script, request, *arguments = sys.argv[1:]
    wanted = json.loads(request)
    sys.argv = [script, *arguments]
    spec = importlib.util.spec_from_file_location("entry", script)
    assert spec is not None and spec.loader is not None
    entry = importlib.util.module_from_spec(spec)
    sys.modules["entry"] = entry  # dataclasses look their module up
    spec.loader.exec_module(entry)
    entry.init()
    rows = [str(row) for row in entry.run(wanted["files"])]
    if len(rows) != len(wanted["files"]):
        sys.exit(f"run() gave {len(rows)} rows for {len(wanted['files'])} files")
    Path(wanted["answer"]).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
