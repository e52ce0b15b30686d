"""Checks request bodies against the models that Azure's generators wrote into the SDK.

A model there names every field with its JSON name, its type, whether it may be left out and whether only the service
sets it. That is as near to the service's own schema as an installed package comes.
"""

from __future__ import annotations

import enum
import functools
import importlib
import sys
import types
import typing
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

_SDKS = {"": "azure.ai.ml._restclient.arm_ml_service.models", "cost": "azure.mgmt.costmanagement.models"}
UNMODELLED = {"ListSecrets": {"expirableSecret", "expireAfterHours"}}
"""Bodies that the SDK sends without a model of its own."""
TOLERATED = {"CodeVersion.properties.properties.hash_version"}
"""What the SDK itself sends against its own model: a number in a mapping of texts."""


def faults(model: str, body: Any) -> list[str]:
    """What is wrong with a body.

    Args:
        model: Name of a class of Azure ML's models, or of Cost Management's with `cost.` before it, or a key of
            UNMODELLED.
        body: The parsed JSON.
    """
    if model in UNMODELLED:
        return [f"{key}: unknown key" for key in body or {} if key not in UNMODELLED[model]]
    sdk, _, name = model.rpartition(".")
    return list(_model(getattr(importlib.import_module(_SDKS[sdk]), name), body, name))


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Any, Any]]:
    """JSON name -> (the field, its type)."""
    cls.__new__(cls)  # it completes its fields when the first one is made
    module = sys.modules[cls.__module__]
    models = sys.modules[module.__name__.rpartition(".")[0]]
    hints = typing.get_type_hints(cls, globalns=vars(module), localns={"_models": models})
    return {field._rest_name: (field, hints[name]) for name, field in cls._attr_to_rest_field.items()}  # type: ignore[attr-defined]


def _model(cls: type, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: got {type(value).__name__}, expected an object ({cls.__name__})"
        return
    concrete, wrong = _concrete(cls, value, path)
    if wrong:
        yield wrong
        return
    fields = _fields(concrete)
    for key, item in value.items():
        if key not in fields:
            yield f"{path}.{key}: {concrete.__name__} has no such key"
            continue
        field, kind = fields[key]
        if field._visibility == ["read"]:
            yield f"{path}.{key}: only the service sets it"
        elif item is not None or not _optional(kind):
            yield from _value(kind, item, f"{path}.{key}")
    for key, (field, kind) in fields.items():
        if key not in value and not _optional(kind) and field._visibility != ["read"]:
            yield f"{path}.{key}: missing"


def _concrete(cls: type, value: dict[str, Any], path: str) -> tuple[type, str]:
    """The class that the discriminators choose, or what is wrong with them."""
    seen: list[str] = []
    while "__mapping__" in vars(cls):
        field = cls._get_discriminator(seen)  # type: ignore[attr-defined]
        if field is None:
            break
        seen.append(field._rest_name)
        chosen = value.get(field._rest_name)
        known = {str(getattr(k, "value", k)): v for k, v in cls.__mapping__.items()}  # type: ignore[attr-defined]
        if chosen not in known:
            return cls, f"{path}.{field._rest_name}: got {chosen!r}, expected one of {', '.join(sorted(known))}"
        cls = known[chosen]
    return cls, ""


def _optional(kind: Any) -> bool:
    return kind is Any or type(None) in typing.get_args(kind)


_PLAIN: dict[Any, tuple[type, ...]] = {
    str: (str,), int: (int,), float: (int, float), bool: (bool,), bytes: (str,), datetime: (str,), timedelta: (str,),
}  # fmt: skip


def _value(kind: Any, value: Any, path: str) -> Iterator[str]:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        yield from _union([a for a in args if a is not type(None)], value, path)
    elif origin is typing.Literal:
        if value not in [getattr(a, "value", a) for a in args]:
            yield f"{path}: got {value!r}, expected {args}"
    elif origin is list:
        yield from _list(args[0], value, path)
    elif origin is dict:
        yield from _dict(args[1], value, path)
    elif isinstance(kind, type):
        yield from _class(kind, value, path)


def _list(kind: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: got {type(value).__name__}, expected a list"
        return
    for index, item in enumerate(value):
        yield from _value(kind, item, f"{path}[{index}]")


def _dict(kind: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: got {type(value).__name__}, expected an object"
        return
    for key, item in value.items():
        if item is not None and f"{path}.{key}" not in TOLERATED:
            yield from _value(kind, item, f"{path}.{key}")


def _class(kind: type, value: Any, path: str) -> Iterator[str]:
    if hasattr(kind, "_attr_to_rest_field") or getattr(kind, "_is_model", False):
        yield from _model(kind, value, path)
    elif issubclass(kind, enum.Enum):
        # Azure reads them in any case (the generated ones are CaseInsensitiveEnumMeta), and the SDK counts on it.
        if str(value).lower() not in {str(member.value).lower() for member in kind}:
            yield f"{path}: got {value!r}, expected one of {', '.join(str(m.value) for m in kind)}"
    elif kind in _PLAIN and (not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind is not bool)):
        yield f"{path}: got {type(value).__name__} {value!r}, expected {kind.__name__}"


def _union(kinds: list[Any], value: Any, path: str) -> Iterator[str]:
    """An enum beside `str` may hold other texts on the wire; none of ours shall."""
    if enums := [k for k in kinds if isinstance(k, type) and issubclass(k, enum.Enum)]:
        kinds = enums
    found = [list(_value(kind, value, path)) for kind in kinds]
    if all(found):
        yield from found[0]
