"""Write include/pipelines/pipeline.schema.json, which editors complete pipeline.yaml by, from the pydantic schema."""

from __future__ import annotations

import json
from pathlib import Path

from noria.pipeline import json_schema

TARGET = Path(__file__).resolve().parents[1] / "include" / "pipelines" / "pipeline.schema.json"

if __name__ == "__main__":
    TARGET.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
    print(f"written: {TARGET}")
