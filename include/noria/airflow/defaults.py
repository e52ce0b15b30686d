"""What the DAGs have in common: tags, documentation, retries and time limits."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Any

from noria.pipeline import Pipeline


class Tag(enum.StrEnum):
    """Tags that DAGs can be found by in the UI; a pipeline's name comes beside them."""

    NORIA = "noria"
    RETRAIN = "retrain"


RETRAIN_SUFFIX = "__retrain"
"""What follows the pipeline's name in the id of its retrain DAG."""
RETRAIN_TAGS = (Tag.NORIA.value, Tag.RETRAIN.value)


def task_defaults(pipeline: Pipeline) -> dict[str, Any]:
    """`default_args` of a pipeline's DAGs."""
    return {
        "owner": pipeline.owner,
        "retries": 2,
        "retry_delay": timedelta(seconds=10),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "execution_timeout": timedelta(hours=2),
    }


def retrain_docs(pipeline: Pipeline) -> str:
    """Documentation of `<pipeline>__retrain` in Markdown."""
    return f"""\
### {pipeline.name}: retrain, judge, promote

{pipeline.description}

**Owner:** {pipeline.owner}
"""
