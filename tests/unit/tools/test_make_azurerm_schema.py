"""Reading a provider's schema out of the modules that are generated from it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.support.airflow import CHECKOUT

RESOURCE = """
function thingRuleToHclTerraform(struct) {
    const attrs = {
        days: {
            value: cdktn.numberToHclTerraform(struct.days),
            isBlock: false,
            type: "simple",
        },
    };
}
class ThingRuleOutputReference extends cdktn.ComplexObject {
    // days - computed: false, optional: false, required: true
    get days() {
        return this.getNumberAttribute('days');
    }
}
class ThingRuleList extends cdktn.ComplexList {
}
function thingPauseToHclTerraform(struct) {
    const attrs = {};
}
class ThingPauseOutputReference extends cdktn.ComplexObject {
}
class ThingSeenOutputReference extends cdktn.ComplexObject {
    // at - computed: true, optional: false, required: false
    get at() {
        return this.getStringAttribute('at');
    }
}
class ThingSeenList extends cdktn.ComplexList {
}
class Thing extends cdktn.TerraformResource {
    // name - computed: false, optional: false, required: true
    get name() {
        return this.getStringAttribute('name');
    }
    // zones - computed: true, optional: true, required: false
    get zones() {
        return cdktn.Fn.tolist(this.getListAttribute('zones'));
    }
    // seen - computed: true, optional: false, required: false
    _seen = new ThingSeenList(this, "seen", false);
    // rule - computed: false, optional: false, required: true
    _rule = new ThingRuleList(this, "rule", true);
    // pause - computed: false, optional: true, required: false
    _pause = new ThingPauseOutputReference(this, "pause");
    synthesizeHclAttributes() {
        const attrs = {
            rule: {
                value: cdktn.listMapperHcl(thingRuleToHclTerraform, true)(this._rule.internalValue),
                isBlock: true,
                type: "set",
            },
            pause: {
                value: thingPauseToHclTerraform(this._pause.internalValue),
                isBlock: true,
                type: "list",
            },
        };
    }
}
"""
PROVIDER = """
// providerVersion: '9.8.7',
function providerFeaturesToHclTerraform(struct) {
    const attrs = {
        purge: {
            value: cdktn.booleanToHclTerraform(struct.purge),
            isBlock: false,
            type: "simple",
        },
    };
}
class Provider extends cdktn.TerraformProvider {
    synthesizeHclAttributes() {
        const attrs = {
            features: {
                value: cdktn.listMapperHcl(providerFeaturesToHclTerraform, true)(this._features),
                isBlock: true,
                type: "list",
            },
        };
    }
}
"""


def wheel(folder: Path) -> Path:
    """A wheel as the generator makes it, with one resource."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("thing", RESOURCE), ("provider", PROVIDER)):
            member = tarfile.TarInfo(f"package/lib/{name}/index.js")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    file = folder / "provider.whl"
    with zipfile.ZipFile(file, "w") as outer:
        outer.writestr("provider/_jsii/provider.jsii.tgz", packed.getvalue())
    return file


def test_arguments_types_and_nesting_are_read(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = tmp_path / "tools" / "make_azurerm_schema.py"
    tool.write_text((CHECKOUT / "tools" / "make_azurerm_schema.py").read_text())
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "main.tf").write_text('resource "azurerm_thing" "x" {\n}\n')
    subprocess.run([sys.executable, tool, wheel(tmp_path)], check=True, capture_output=True)
    written = json.loads((tmp_path / "tests" / "support" / "azurerm" / "schema.json").read_text())
    assert written["provider_version"] == "9.8.7"
    (provider,) = written["provider_schemas"].values()
    (features,) = provider["provider"]["block"]["block_types"].values()
    assert features["block"]["attributes"] == {"purge": {"type": "bool", "optional": True}}
    block = provider["resource_schemas"]["azurerm_thing"]["block"]
    assert block["attributes"] == {
        "name": {"type": "string", "required": True},
        "zones": {"type": ["set", "string"], "optional": True, "computed": True},
        "seen": {"type": ["list", ["object", {"at": "string"}]], "computed": True},
    }
    days = {"attributes": {"days": {"type": "number", "required": True}}, "block_types": {}}
    assert block["block_types"] == {
        "rule": {"nesting_mode": "set", "min_items": 1, "block": days},
        "pause": {"nesting_mode": "list", "max_items": 1, "block": {"attributes": {}, "block_types": {}}},
    }
