"""The Terraform provider azurerm as far as its schema goes: Terraform itself then checks every argument of infra/.

Terraform asks a provider over gRPC (plugin protocol 5) which arguments its resources have. This one answers with
schema.json and does nothing else: plan and apply in the tests go through Terraform's own `mock_provider`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

ADDRESS = "registry.terraform.io/hashicorp/azurerm"
SCHEMA = Path(__file__).with_name("schema.json")
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4}


def schemas() -> dict[str, Any]:
    """The provider's schemas, in the format of `terraform providers schema -json`."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))["provider_schemas"][ADDRESS]
    return found


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, value: bytes | str | int) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value) if value else b""
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _attribute(name: str, facts: dict[str, Any]) -> bytes:
    flags = {4: "required", 5: "optional", 6: "computed"}
    parts = [_field(1, name), _field(2, json.dumps(facts["type"]))]
    return b"".join(parts + [_field(n, int(facts.get(key, False))) for n, key in flags.items()])


def _nested(name: str, facts: dict[str, Any]) -> bytes:
    limits = _field(4, facts.get("min_items", 0)) + _field(5, facts.get("max_items", 0))
    return _field(1, name) + _field(2, _block(facts["block"])) + _field(3, NESTING[facts["nesting_mode"]]) + limits


def _block(block: dict[str, Any]) -> bytes:
    attributes = [_field(2, _attribute(*item)) for item in block["attributes"].items()]
    return b"".join(attributes + [_field(3, _nested(*item)) for item in block.get("block_types", {}).items()])


def _schema(schema: dict[str, Any]) -> bytes:
    return _field(1, schema["version"]) + _field(2, _block(schema["block"]))


def schema_response() -> bytes:
    """The message GetProviderSchema.Response of plugin protocol 5."""
    found = schemas()
    maps = ((2, "resource_schemas"), (3, "data_source_schemas"))
    entries = [
        _field(number, _field(1, name) + _field(2, _schema(schema)))
        for number, key in maps
        for name, schema in found[key].items()
    ]
    return _field(1, _schema(found["provider"])) + b"".join(entries)


class _Provider(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers what `terraform validate` and a mocked `terraform test` ask; all else is unimplemented."""

    def __init__(self) -> None:
        schema = schema_response()
        self.answers = {
            "GetSchema": lambda request, context: schema,
            "PrepareProviderConfig": lambda request, context: request,  # the configuration as it came
            "ValidateResourceTypeConfig": lambda request, context: b"",  # no complaints beyond the schema
            "ValidateDataSourceConfig": lambda request, context: b"",
        }

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        answer = self.answers.get(details.method.removeprefix("/tfplugin5.Provider/"))
        return grpc.unary_unary_rpc_method_handler(answer) if answer else None


@contextmanager
def serving(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the provider on a socket in `folder`; yields the environment by which Terraform finds it."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), handlers=[_Provider()])
    socket = folder / "provider.sock"
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    reattach = {
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": os.getpid(),
        "Test": True,  # Terraform shall not stop this process
        "Addr": {"Network": "unix", "String": str(socket)},
    }
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps({ADDRESS: reattach})}
    finally:
        server.stop(None).wait()
