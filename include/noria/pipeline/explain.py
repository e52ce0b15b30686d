"""From pydantic's errors to one line a mistake: file, line, key, what was got and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noria.errors import SpecError
from noria.pipeline.alerts import ADDRESS
from noria.pipeline.base import NAME_PATTERN, ContradictionError, Location, Model
from noria.pipeline.source import hide_credentials

_PATTERNS = {
    NAME_PATTERN: "a small letter, then small letters, digits and _",
    r"^expect_[a-z0-9_]+$": "a Great Expectations name in snake case, such as expect_column_mean_to_be_between",
    ADDRESS: "one mail address in ASCII, such as anna@example.org",
    r"^https?://[^/\s]+/?.*$": "an https:// URL",
    r"^[0-9a-f]{64}$": "64 hex digits in small letters",
    r"^[A-Za-z0-9_.-]+$": "a name of letters, digits, '_', '.' and '-'",
}
_TYPES = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "keys with values below it",
}


@dataclass(frozen=True)
class Origin:
    """Where values came from.

    Attributes:
        path: The file.
        document: What stands in it, with line marks, after `--set` and `--source`.
        changed: Dotted keys that came from the command line or the trigger form.
    """

    path: Path
    document: Any
    changed: set[str]

    def line(self, location: Sequence[str | int]) -> int:
        """Line of the deepest key of `location` that the file has."""
        line, node = 1, self.document
        for part in location:
            try:
                marks: Any = node.lc  # left on mappings and lists by the YAML reader
                line = (marks.key(part) if isinstance(node, dict) else marks.item(part))[0] + 1
                node = node[part]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return line

    def tell(self, location: Sequence[str | int], what: str) -> str:
        """The mistake with file, line and key, or that it did not come from the file."""
        key = ".".join(map(str, location))
        if any(key == c or key.startswith(f"{c}.") or c.startswith(f"{key}.") for c in self.changed if key):
            return f"{key}: {what} (given on the command line or in the trigger form)"
        return f"{self.path}:{self.line(location)}: {key + ': ' if key else ''}{what}"


def explain(errors: Sequence[Any], origin: Origin) -> SpecError:
    """All mistakes as one error, in the order of the file."""
    found: dict[Location, str] = {}
    for error in errors:
        if error["type"] == "too_short" and any(_is_below(e, error) for e in errors):
            continue  # pydantic does not count the items that it has complained of
        contradiction = error.get("ctx", {}).get("error")
        location = _in_document(error["loc"], origin.document)
        if isinstance(contradiction, ContradictionError):
            found |= {(*location, *place): message for place, message in contradiction.found}
        elif location in found:
            found[location] = f"got {_shown(error['input'])}; expected a single value (text, number, true or false)"
        else:
            found[location] = _message(error, location)
    in_order = sorted(found.items(), key=lambda mistake: origin.line(mistake[0]))
    return SpecError("\n".join(origin.tell(where, what) for where, what in in_order))


def _is_below(inner: Any, outer: Any) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def _in_document(location: Location, document: Any) -> Location:
    """The location without the names of the alternatives that pydantic tried."""
    kept: list[str | int] = []
    node = document
    for index, part in enumerate(location):
        present = (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int))
        if present:
            kept.append(part)
            node = node[part]
        elif index == len(location) - 1 and isinstance(node, dict):
            kept.append(part)  # a key that is missing
    return tuple(kept)


def _message(error: Any, location: Location) -> str:
    kind, context, got = error["type"], error.get("ctx", {}), _shown(error["input"])
    if kind == "extra_forbidden":
        return f"unknown key{_suggestion(str(location[-1]), _known_keys())}"
    if kind == "missing":
        return "the key is missing"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "union_tag_not_found":
        return "got no kind; expected kind: sample, file, https or github"
    if kind == "union_tag_invalid":
        close = _suggestion(str(context["tag"]), re.findall(r"\w+", context["expected_tags"]))
        return f"kind: got {context['tag']!r}; expected one of {context['expected_tags']}{close}"
    return f"got {got}; expected {_expected(error, kind, context)}"


def _expected(error: Any, kind: str, context: dict[str, Any]) -> str:
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        return f"{context['expected']}{_suggestion(str(error['input']), allowed)}"
    if kind in ("too_short", "too_long"):
        return f"at {'least' if kind == 'too_short' else 'most'} {context.get('min_length', context.get('max_length'))}"
    if kind in ("model_type", "model_attributes_type"):
        fields = next((m.model_fields for m in Model.__subclasses__() if m.__name__ == context.get("class_name")), {})
        listed = f" ({', '.join(fields)})" if fields else ""
        return f"keys with values below it{listed}"
    return _TYPES.get(kind, re.sub(r"^.*? should (be |have )?", "", error["msg"]))


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "keys with values below it" if isinstance(value, dict) else f"a list of {len(value)}"
    text = hide_credentials(repr(value))
    return text if len(text) <= 80 else f"{text[:77]}…"


def _known_keys() -> list[str]:
    return [name for model in Model.__subclasses__() for name in model.model_fields]


def _suggestion(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
