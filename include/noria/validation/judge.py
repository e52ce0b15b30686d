"""What Great Expectations says of a data frame, in words that a person reads."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import Any

from noria.errors import SpecError
from noria.records import ExpectationResult
from noria.validation.library import validate_frame
from noria.validation.suite import Check

_EXAMPLES = 5


def judge(frame: Any, name: str, checks: list[Check]) -> tuple[tuple[ExpectationResult, ...], dict[str, Any]]:
    """Verdict on every check, in their order, and Great Expectations' own result as a JSON document.

    Raises:
        SpecError: An expectation could not be evaluated; that is never a pass.
    """
    for place, check in enumerate(checks):
        check.expectation.meta = {**check.expectation.meta, "place": place}
    validation = validate_frame(frame, name, [check.expectation for check in checks])
    found = sorted(validation.results, key=lambda r: r.expectation_config.meta["place"])
    _refuse_exceptions(found)
    return tuple(_result(one) for one in found), validation.to_json_dict()


def _refuse_exceptions(found: Iterable[Any]) -> None:
    said = []
    for one in found:
        message = _exception(one.exception_info)
        if message is not None:
            meta = one.expectation_config.meta
            said.append(f"{meta['key']}: {meta['name']} cannot be evaluated: {message}")
    if said:
        raise SpecError("\n".join(said), remedy="Mend the expectation's arguments in pipeline.yaml.")


def _exception(info: Any) -> str | None:
    """First line of what an expectation raised: one account, or one for each of its metrics."""
    accounts = [info] if "raised_exception" in info else list(info.values())
    for account in accounts:
        if account["raised_exception"]:
            return str(account["exception_message"]).strip().splitlines()[0]
    return None


def _result(one: Any) -> ExpectationResult:
    config = one.expectation_config
    columns = [str(v) for k, v in config.kwargs.items() if k in ("column", "column_A", "column_B")]
    return ExpectationResult(
        expectation=config.type,
        column=", ".join(columns) or None,
        severity=config.severity or "critical",
        success=bool(one.success),
        observed=_observed(one.result) or ("as expected" if one.success else "nothing"),
        expected=_expected(config),
    )


def _expected(config: Any) -> str:
    """The expectation as Great Expectations' own renderer words it."""
    from great_expectations.render.renderer.inline_renderer import InlineRenderer

    (content,) = [c for c in InlineRenderer(config).get_rendered_content() if c.name.startswith("atomic.prescriptive")]
    value = content.value.to_json_dict()
    header = value.get("header", {}).get("value", value)
    parameters = {name: _text(p["value"]) for name, p in (header.get("params") or {}).items()}
    template = re.sub(r"(\$\w+_\d+) (?=\$\w+_\d+)", r"\1, ", header.get("template", config.type))
    sentence = string.Template(template).safe_substitute(parameters)
    rows = ["; ".join(_text(cell["value"]) for cell in row) for row in value.get("table", [])]
    return " ".join([sentence, *rows]).strip()


def _observed(result: dict[str, Any]) -> str:
    if "element_count" in result:
        return _unexpected(result)
    parts = []
    if result.get("partial_unexpected_list"):
        parts.append(f"unexpected: {_listed(result['partial_unexpected_list'])}")
    if result.get("partial_missing_list"):
        parts.append(f"missing: {_listed(result['partial_missing_list'])}")
    if parts:
        return "; ".join(parts)
    observed = result.get("observed_value")
    return "" if observed is None else _text(observed)


def _unexpected(result: dict[str, Any]) -> str:
    count, total = result.get("unexpected_count", 0), result["element_count"]
    if not count:
        return f"none of {total:,} unexpected"
    share = result.get("unexpected_percent") or 0.0
    counts = result.get("partial_unexpected_counts") or []
    examples = ", ".join(f"{_text(c['value'])}" for c in counts[:_EXAMPLES] if "value" in c)
    return f"{count:,} of {total:,} unexpected ({share:.3g} %){f': {examples}' if examples else ''}"


def _listed(values: list[Any]) -> str:
    more = len(values) - _EXAMPLES
    return ", ".join(_text(v) for v in values[:_EXAMPLES]) + (f" and {more} more" if more > 0 else "")


def _text(value: Any) -> str:
    """A value for people: numbers to six digits, lists and mappings without Python's punctuation."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple | set):
        return ", ".join(_text(v) for v in value)
    if isinstance(value, str):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{int(number):,}" if number.is_integer() and abs(number) < 1e15 else f"{number:.6g}"
