"""Models as files: skops, which runs no code when it is loaded, with the list of types we trust.

skops names the parts of a file by memory addresses and stamps them with the time of day. Both are replaced by counters
and a constant here, so that the same model is the same bytes and its SHA-256 means something.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from noria.errors import InputError

TRUSTED_TYPES = (
    "noria.models.labelled.LabelledXGBClassifier",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBRegressor",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SCHEMA = "schema.json"


def dump_model(model: Any) -> bytes:
    """A fitted model as the bytes of a skops file; equal models give equal bytes."""
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as raw:
        schema = json.loads(raw.read(_SCHEMA))
        names = _Names()
        _rename(schema, names)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
            for old, new in names.files.items():
                packed.writestr(zipfile.ZipInfo(new, _EPOCH), raw.read(old), zipfile.ZIP_DEFLATED)
            packed.writestr(zipfile.ZipInfo(_SCHEMA, _EPOCH), json.dumps(schema), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def model_types(data: bytes) -> tuple[str, ...]:
    """Types in a model's bytes that skops does not trust by itself.

    Raises:
        InputError: One of them is not among those that we trust.
    """
    import skops.io

    types = tuple(sorted(skops.io.get_untrusted_types(data=data)))
    if unknown := sorted(set(types) - set(TRUSTED_TYPES)):
        raise InputError(f"the model holds types that are not trusted: {', '.join(unknown)}")
    return types


def load_model(path: Path, sha256: str | None = None) -> Any:
    """Load a model.

    Raises:
        InputError: The file is not the one that was stored, is no skops file, or holds types that we do not trust.
    """
    import skops.io

    data = path.read_bytes()
    if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise InputError(f"model file {path} has SHA-256 {found}", expected=sha256)
    try:
        return skops.io.loads(data, trusted=list(model_types(data)))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"model file {path} cannot be read: {error}", expected="a skops file of Noria") from error


class _Names:
    """New names by order of first sight."""

    def __init__(self) -> None:
        self.ids: dict[int, int] = {}
        self.files: dict[str, str] = {}

    def number(self, old: int) -> int:
        return self.ids.setdefault(old, len(self.ids) + 1)

    def file(self, old: str) -> str:
        return self.files.setdefault(old, f"{len(self.files) + 1:04d}{Path(old).suffix}")


def _rename(node: Any, names: _Names) -> None:
    """Replace ids and file names in skops' tree, in the order in which it is written."""
    if isinstance(node, list):
        for item in node:
            _rename(item, names)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "__id__":
                node[key] = names.number(value)
            elif key == "file" and isinstance(value, str):
                node[key] = names.file(value)
            else:
                _rename(value, names)
