"""Great Expectations as Noria uses it: no telemetry, no progress bars, no back ends but pandas."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

# Great Expectations imports each of them if it is there, for stores and engines that are not used here: 1.5 s.
_OPTIONAL = ("pyspark", "azure.identity", "azure.keyvault.secrets", "azure.storage.blob")


@cache
def library() -> Any:
    """The package `great_expectations`."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    with _hidden(_OPTIONAL), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import great_expectations
    return great_expectations


def validate_frame(frame: Any, name: str, expectations: list[Any]) -> Any:
    """Great Expectations' validation result of expectations on a pandas data frame."""
    gx = library()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("snapshot").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name, expectations=expectations)
    return batch.validate(suite, result_format="SUMMARY")


@contextlib.contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Packages that have not been imported yet cannot be, while the context lasts."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
