"""Write the JSON Schemas that editors complete pipeline.yaml and costs.yaml by, from the pydantic schemas."""

from __future__ import annotations

import json
from pathlib import Path

from noria.costs.sheet import PriceSheet
from noria.pipeline import json_schema

INCLUDE = Path(__file__).resolve().parents[1] / "include"
SCHEMAS = {
    INCLUDE / "pipelines" / "pipeline.schema.json": json_schema,
    INCLUDE / "costs.schema.json": PriceSheet.model_json_schema,
}

if __name__ == "__main__":
    for target, schema in SCHEMAS.items():
        target.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
        print(f"written: {target}")
