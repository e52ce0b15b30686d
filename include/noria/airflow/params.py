"""The form of a manual run: which values of the spec it offers, and how they change the spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from noria.errors import InputError
from noria.pipeline import Pipeline

LEAST_REASON = 3
"""Characters of a reason."""
VERSION_PATTERN = r"^\s*[1-9][0-9]*\s*$"
SOURCE_PATTERN = r"^(github|https?|file|sample)://\S+$"


def retrain_params(pipeline: Pipeline) -> dict[str, Param]:
    """The form, with the spec's values as defaults."""
    return {
        "training_share": Param(
            _share(1 - pipeline.holdout.share),
            type="number",
            exclusiveMinimum=0,
            exclusiveMaximum=1,
            title="Training share",
            description="Share of the rows that may be learnt from; the others are the holdout. Between 0 and 1.",
        ),
        "trials": Param(
            pipeline.tuning.trials,
            type="integer",
            minimum=1,
            maximum=10_000,
            title="Trials",
            description="Trials of the hyper-parameter search, over all estimators together.",
        ),
        "seed": Param(
            pipeline.seed,
            type="integer",
            minimum=0,
            maximum=2**32 - 1,
            title="Seed",
            description="The same seed on the same snapshot gives the same model.",
        ),
        "source": Param(
            pipeline.source.uri,
            type="string",
            pattern=SOURCE_PATTERN,
            title="Source URI",
            description="Where the data comes from: github://owner/repo/path@ref, https://…, file:///… "
            "or sample://students?rows=1000.",
        ),
        "dry_run": Param(
            pipeline.gate.mode == "dry_run",
            type="boolean",
            title="Dry run",
            description="Reach a verdict and write the report, but leave the registry as it is. It is the one value of "
            "`gate` that this form may set either way.",
        ),
        "overrides": Param(
            {},
            type="object",
            title="Other values",
            description='More values of pipeline.yaml by their dotted keys, such as {"tuning.folds": 5}. What they say '
            "of `gate` can make it stricter and never looser: the policy in pipeline.yaml has to be met as well.",
        ),
    }


def rollback_params() -> dict[str, Param]:
    """The form of a rollback."""
    return {
        "version": Param(
            None,
            type=["null", "string"],
            pattern=VERSION_PATTERN,
            title="Version",
            description="The version in the registry to go back to; it must have been the champion. Empty: the one "
            "before the present champion.",
        ),
        "reason": Param(
            type="string",
            minLength=LEAST_REASON,
            maxLength=1000,
            title="Reason",
            description="Why; it is kept with your name in the history of promotions.",
        ),
    }


def changes(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[dict[str, str], str | None]:
    """What was changed in the form, as overrides of the spec and a source URI.

    Values left at their default are not overrides: then the spec holds, even if it was edited since the form was drawn.

    Raises:
        InputError: The form has no such field (a run triggered by the API or the command line can name any).
    """
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise InputError(f"trigger form: unknown {', '.join(unknown)}", expected=f"some of {', '.join(defaults)}")
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    more = changed.get("overrides", {})
    overrides = {}
    if "training_share" in changed:
        overrides["holdout.share"] = str(_share(1 - changed["training_share"]))
    if "trials" in changed:
        overrides["tuning.trials"] = str(changed["trials"])
    if "seed" in changed:
        overrides["seed"] = str(changed["seed"])
    if "dry_run" in changed:
        overrides["gate.mode"] = "dry_run" if changed["dry_run"] else "enforce"
    overrides |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in more.items()}
    return overrides, changed.get("source")


def _share(value: float) -> float:
    """Without the dust of binary fractions (1 - 0.7 is not quite 0.3)."""
    return round(value, 10)
