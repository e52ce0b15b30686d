"""Finding and reading pipeline.yaml, with `--set` and `--source` applied."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from noria.errors import InputError, SpecError
from noria.pipeline.base import SPEC_FILE, Model
from noria.pipeline.explain import Origin, explain
from noria.pipeline.schema import Pipeline
from noria.pipeline.source import source_from_uri

M = TypeVar("M", bound=Model)


def find_pipelines(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders that hold a pipeline.yaml, by folder name; the first one of a name wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for spec in sorted(folder.glob(f"*/{SPEC_FILE}")):
                if not spec.parent.name.startswith("."):
                    found.setdefault(spec.parent.name, spec.parent)
    return found


def load_pipeline(
    name: str, folders: Sequence[Path], overrides: Mapping[str, str] | None = None, source: str | None = None
) -> Pipeline:
    """Read a pipeline by name, with `--set` overrides (dotted key to YAML text) and a `--source` URI applied.

    Raises:
        SpecError: No such pipeline, or its file is wrong.
        InputError: An override or the source is wrong.
    """
    found = find_pipelines(folders)
    if name not in found:
        raise SpecError(
            f"no pipeline {name!r}",
            expected=f"one of: {', '.join(sorted(found)) or 'none found'}",
            remedy=f"Looked in {', '.join(str(f) for f in folders)}; add folders with NORIA_PIPELINES.",
        )
    return load_spec(found[name] / SPEC_FILE, overrides, source)


def load_spec(path: Path, overrides: Mapping[str, str] | None = None, source: str | None = None) -> Pipeline:
    """Read one pipeline.yaml; see `load_pipeline`."""
    document = _read_yaml(path)
    if overrides or source is not None:  # what was read is kept, and may not change
        document = copy.deepcopy(document)
    if "name" in (overrides or {}):
        raise InputError("--set name=…", expected="another key: a pipeline is called like its folder")
    if source is not None:
        document["source"] = source_from_uri(source)
    for key, text in (overrides or {}).items():
        _set(document, key, text)
    origin = Origin(path, document, {*(overrides or {}), *(["source"] if source is not None else [])})
    pipeline = _valid(Pipeline, origin)
    if pipeline.name != path.parent.name:
        raise SpecError(
            f"{path}:{origin.line(('name',))}: name: {pipeline.name!r}",
            expected=f"the folder's name {path.parent.name!r}",
        )
    return pipeline


def load_model(path: Path, kind: type[M]) -> M:
    """Read a YAML file of another kind, with the same errors.

    Raises:
        SpecError: It cannot be read, or it is wrong: all mistakes with line and key.
    """
    return _valid(kind, Origin(path, _read_yaml(path, kind), set()))


def _valid(kind: type[M], origin: Origin) -> M:
    try:
        return kind.model_validate(origin.document)
    except ValidationError as error:
        raise explain(_all_errors(kind, origin.document, error), origin) from None


def _all_errors(kind: type[Model], document: Any, error: ValidationError) -> list[Any]:
    """The errors, and where all of them are unknown keys also the contradictions that those keep from being seen."""
    errors: list[Any] = list(error.errors())
    if all(e["type"] == "extra_forbidden" for e in errors):
        known = copy.deepcopy(document)
        for unknown in errors:
            node = known
            *parents, last = unknown["loc"]
            for part in parents:
                if isinstance(node, list) or part in node:
                    node = node[part]
            del node[last]
        try:
            kind.model_validate(known)
        except ValidationError as more:
            errors += more.errors()
    return errors


def _read_yaml(path: Path, kind: type[Model] = Pipeline) -> Any:
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        document = _parse(path.read_text(encoding="utf-8-sig"))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        key = str(error.problem).partition('duplicate key "')[2].partition('"')[0]
        raise SpecError(f"{path}:{line}: {key}: the key stands twice", expected="each key once") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SpecError(f"{where}: not valid YAML: {error.problem}") from None
    except (YAMLError, ValueError) as error:  # ValueError: bytes that are no text, or `!!int many`
        raise SpecError(f"{path}: not valid YAML: {error}") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    if not isinstance(document, dict):
        raise SpecError(f"{path}:1: not a mapping", expected=f"keys such as {', '.join(list(kind.model_fields)[:4])}")
    return document


@lru_cache(maxsize=64)
def _parse(text: str) -> Any:
    """A YAML document with its line numbers; kept, since that takes a tenth of a second and a run needs it often."""
    return _reader("rt").load(text)


def _reader(kind: str) -> Any:
    """A YAML reader that leaves dates as they are written: no key takes one, and 2024-13-45 may be a description."""
    from ruamel.yaml import YAML

    reader = YAML(typ=kind, pure=True)
    reader.Constructor = type("Constructor", (reader.Constructor,), {})
    reader.Constructor.add_constructor("tag:yaml.org,2002:timestamp", reader.Constructor.construct_yaml_str)
    return reader


def _set(document: Any, dotted: str, text: str) -> None:
    from ruamel.yaml.error import YAMLError

    try:
        value = _reader("safe").load(text)
    except (YAMLError, ValueError):
        value = text
    *parents, last = dotted.split(".")
    node = document
    for part in parents:
        node = _step(node, part, dotted, text)
    if isinstance(node, list):
        node[_position(node, last, dotted, text)] = value
    else:
        node[last] = value


def _step(node: Any, part: str, dotted: str, text: str) -> Any:
    """What stands under one part of a dotted key; an absent or empty section is made."""
    if isinstance(node, list):
        below = node[_position(node, part, dotted, text)]
    else:
        if node.get(part) is None:
            node[part] = {}
        below = node[part]
    if not isinstance(below, dict | list):
        raise InputError(f"--set {dotted}={text}: {part!r} has no keys below it", expected="the dotted key of a value")
    return below


def _position(node: list[Any], part: str, dotted: str, text: str) -> int:
    if part.isdigit() and int(part) < len(node):
        return int(part)
    raise InputError(
        f"--set {dotted}={text}: {part!r} in a list", expected=f"a position from 0 to {len(node) - 1}, counted from 0"
    )
