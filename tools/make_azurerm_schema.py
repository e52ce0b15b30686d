"""Write tests/support/azurerm/schema.json: what the Terraform provider azurerm accepts, for the types that infra/ uses.

    python3 tools/make_azurerm_schema.py cdktn_provider_azurerm-VERSION-py3-none-any.whl

The wheel (`pip download --no-deps cdktn-provider-azurerm`) is generated from the provider's own schema and says of
every argument whether it is required, optional or computed, its type, and how its blocks nest. The output is in the
format of `terraform providers schema -json`, which a machine that reaches Terraform's registry can write instead.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests" / "support" / "azurerm" / "schema.json"
SOURCE = "registry.terraform.io/hashicorp/azurerm"
SIMPLE: dict[str, Any] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
}
CLASS = re.compile(r"(?ms)^class (\w+) extends cdktn\.(\w+) \{\n(.*?)^\}")
FUNCTION = re.compile(r"(?ms)^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}")
ARGUMENT = re.compile(
    r"// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(.*?)(?=\n    // \w+ - computed:|\Z)", re.S
)
MEMBER = re.compile(r"_\w+ = new (\w+(?:\.\w+)?)\(this, [\"'](\w+)[\"'](?:, (true|false))?\)")
WRITTEN = re.compile(r'(?m)^ +(\w+): \{\n +value: (.*),\n +isBlock: (true|false),\n +type: "(\w+)"')
MAIN = ("TerraformResource", "TerraformDataSource", "TerraformProvider")


def used_types() -> tuple[set[str], set[str]]:
    """Resource types and data source types of infra/."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "infra").rglob("*.tf"))
    return set(re.findall(r'(?m)^resource "(azurerm_\w+)"', text)), set(re.findall(r'(?m)^data "(azurerm_\w+)"', text))


class Module:
    """One generated JavaScript module: a resource, a data source or the provider, with its blocks."""

    def __init__(self, text: str) -> None:
        self.classes = {name: (base, body) for name, base, body in CLASS.findall(text)}
        self.functions = dict(FUNCTION.findall(text))

    def schema(self) -> dict[str, Any]:
        """The schema of the module's main class."""
        name, (base, body) = next((n, c) for n, c in self.classes.items() if c[0] in MAIN)
        block = self._from_writers(body) if base == "TerraformProvider" else self._block(name, body)
        return {"version": 0, "block": block}

    def _block(self, name: str, writers: str) -> dict[str, Any]:
        body = self.classes[name][1]
        blocks = {argument: kind for argument, _, is_block, kind in WRITTEN.findall(writers) if is_block == "true"}
        members = {argument: (kind, wraps == "true") for kind, argument, wraps in MEMBER.findall(body)}
        attributes: dict[str, Any] = {}
        nested: dict[str, Any] = {}
        for argument, computed, optional, required, rest in ARGUMENT.findall(body):
            facts = {"computed": computed, "optional": optional, "required": required}
            flags = {key: True for key, value in facts.items() if value == "true"}
            if argument in members and argument in blocks:
                nested[argument] = self._nested(blocks[argument], *members[argument], flags)
            elif argument in members:
                attributes[argument] = {"type": self._object(*members[argument]), **flags}
            else:
                attributes[argument] = {"type": _simple(rest), **flags}
        return {"attributes": attributes, "block_types": nested}

    def _nested(self, mode: str, kind: str, wraps_set: bool, flags: dict[str, bool]) -> dict[str, Any]:
        item = _item(kind)
        struct = item.removesuffix("OutputReference")
        inner = self._block(item, self.functions[struct[0].lower() + struct[1:]])
        if mode == "struct":
            return {"nesting_mode": "single", "block": inner}
        limits = ({"min_items": 1} if "required" in flags else {}) | ({} if kind.endswith("List") else {"max_items": 1})
        return {"nesting_mode": "set" if wraps_set else mode, "block": inner, **limits}

    def _object(self, kind: str, wraps_set: bool) -> Any:
        """Type of an attribute that holds objects, or a map."""
        if kind.startswith("cdktn."):
            return SIMPLE[kind.removeprefix("cdktn.")]
        body = self.classes[_item(kind)][1]
        members = {argument: (inner, wraps == "true") for inner, argument, wraps in MEMBER.findall(body)}
        fields = {
            argument: self._object(*members[argument]) if argument in members else _simple(rest)
            for argument, _, _, _, rest in ARGUMENT.findall(body)
        }
        return ["set" if wraps_set else "list", ["object", fields]]

    def _from_writers(self, body: str) -> dict[str, Any]:
        """The provider's own block, of which only the functions that write it out tell the types; all is optional."""
        attributes: dict[str, Any] = {}
        nested: dict[str, Any] = {}
        for argument, value, is_block, mode in WRITTEN.findall(body):
            writers = re.findall(r"(\w+)ToHclTerraform", value)
            if is_block == "true":
                inner = self._from_writers(self.functions[writers[0]])
                nested[argument] = {"nesting_mode": mode, "block": inner}
            else:
                kind = {"string": "string", "number": "number", "boolean": "bool"}[writers[0]]
                attributes[argument] = {"type": kind if mode == "simple" else [mode, kind], "optional": True}
        return {"attributes": attributes, "block_types": nested}


def _item(kind: str) -> str:
    return kind.removesuffix("List") + "OutputReference" if kind.endswith("List") else kind


def _simple(rest: str) -> Any:
    found = re.search(r"get(\w+)Attribute\(", rest)
    kind = SIMPLE[found[1]] if found else None
    if kind is None:
        raise ValueError(f"no type in {rest[:200]!r}")
    return ["set", kind[1]] if "Fn.tolist" in rest else kind


def modules(wheel: Path) -> dict[str, str]:
    """The generated JavaScript modules of the wheel, by folder."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
        packed = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {
            member.name.split("/")[2]: archive.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in archive
            if re.fullmatch(r"package/lib/[^/]+/index\.js", member.name)
        }


def main(wheel: Path) -> int:
    """Write the schema; the exit code."""
    texts = modules(wheel)
    resources, sources = used_types()
    folders = {t: t.removeprefix("azurerm_").replace("_", "-") for t in resources | sources}
    version = re.search(r"providerVersion: '([\d.]+)'", texts["provider"])
    document = {
        "format_version": "1.0",
        "provider_version": version[1] if version else "",
        "provider_schemas": {
            SOURCE: {
                "provider": Module(texts["provider"]).schema(),
                "resource_schemas": {t: Module(texts[folders[t]]).schema() for t in sorted(resources)},
                "data_source_schemas": {
                    t: Module(texts["data-azurerm-" + folders[t]]).schema() for t in sorted(sources)
                },
            }
        },
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"written: {TARGET}, provider {document['provider_version']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
