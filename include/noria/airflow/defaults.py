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
FORM_FIELDS = ("training_share", "trials", "seed", "source", "dry_run")
"""Fields of the trigger form that have a value of their own; all else goes into its `overrides`."""
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

| | |
|---|---|
| **Owner** | {pipeline.owner} |
| **Alerts to** | {", ".join(pipeline.alerts.emails) or "nobody"} |
| **Source** | `{pipeline.source.uri}` |
| **Predicts** | `{pipeline.target}` ({pipeline.task}), judged by `{pipeline.primary_metric}` |

**What a run does.** It ingests the source as an immutable snapshot, validates and explores it, tunes the estimators,
judges the best one on rows that tuning never saw, and promotes it if it passes the gate and beats the champion. A run
whose champion stays, or whose candidate is rejected, is a green run.

**Where to look.** The tab *Report* of a run tells it all, verdict first; *Data Docs* says what was expected of the
data, and what was seen.

**When it fails.** A source that does not answer is tried again by itself. Anything else needs a person:

| Task | Usual cause | What to do |
|---|---|---|
| ingest | the source has moved, or its columns have changed | mend `source` or `columns` in pipeline.yaml |
| validate | the data is not what was agreed | read *Data Docs*; talk to whoever delivers the data |
| explore | no Java, or a question that Spark cannot answer | run `noria doctor`; mend `explore.questions` |
| train | memory, or a search space that makes no sense | lower `tuning.workers`; mend `estimators` |
| promote | the registry does not answer | run `noria doctor`; then clear the task |

A run keeps the spec that it began with. Clear a failed task to try it again as it was; trigger a new run to use a spec
that was changed. *Trigger* opens a form: training share, trials, seed, source, dry run, and any other value of
pipeline.yaml by its dotted key.
"""


JOB_TOLD_TO_END = "is told to end"
"""What the log of a task says once the job elsewhere was cancelled with it; `noria up` waits for it."""
