"""Writing the suggested pipeline: rendered, read back by the spec's own reader, then moved into place as a whole."""

from __future__ import annotations

import getpass
import json
import os
import re
import tempfile
from pathlib import Path
from typing import get_args

import jinja2

from noria.errors import InputError, StorageError
from noria.pipeline import SPEC_FILE, EstimatorKind, load_spec
from noria.scaffold.suggest import Plan

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_/.()+%®° -]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}


def write_pipeline(name: str, plan: Plan, into: Path, schema: str) -> Path:
    """Write the folder `into/name`; it appears complete or not at all.

    Args:
        name: The pipeline's name.
        plan: What to write.
        into: Folder of pipelines; made if missing.
        schema: Where editors find the JSON Schema, seen from the new folder.

    Returns:
        The new folder.

    Raises:
        InputError: The folder exists.
        StorageError: It cannot be written.
    """
    folder = into / name
    if folder.exists():
        raise InputError(f"{folder} exists", expected="a new name", remedy="Nothing was changed.")
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into, prefix=".new-") as scratch:
            draft = Path(scratch) / name
            draft.mkdir()
            for file, text in render(name, plan, schema).items():
                (draft / file).write_text(text, encoding="utf-8")
            load_spec(draft / SPEC_FILE)
            draft.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error.strerror}") from None
    return folder


def render(name: str, plan: Plan, schema: str) -> dict[str, str]:
    """The files of the folder: name -> text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("noria.scaffold"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  YAML and Markdown, not HTML; scalars are quoted by the filters
    )
    environment.filters |= {"scalar": _scalar, "number": _number, "sql": _sql, "plain": _one_line}
    facts = {
        "name": name,
        "plan": plan,
        "schema": schema,
        "owner": _scalar(_user()),
        "estimators": get_args(EstimatorKind),
    }
    return {file: environment.get_template(f"{file}.j2").render(facts) for file in (SPEC_FILE, "README.md")}


def _scalar(value: object) -> str:
    """A value as a YAML scalar; quoted as JSON unless it is plain beyond doubt."""
    text = str(value)
    if isinstance(value, str) and not (_PLAIN.fullmatch(text) and text == text.strip() and text.lower() not in _WORDS):
        return json.dumps(text, ensure_ascii=False)
    return text


def _number(value: object) -> str:
    """A number without needless digits; anything else as it is."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _sql(value: object) -> str:
    return str(value) if isinstance(value, int) else "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _one_line(text: str) -> str:
    return re.sub(r"[^\w.-]+", " ", text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return os.environ.get("USER", "unknown")
