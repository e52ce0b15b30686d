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
    ROLLBACK = "rollback"
    COSTS = "costs"
    ALERTS = "alerts"


RETRAIN_SUFFIX = "__retrain"
"""What follows the pipeline's name in the id of its retrain DAG."""
ROLLBACK_SUFFIX = "__rollback"
"""And in that of its rollback DAG."""
APPROVE_TASK = "approve"
"""The task of a retrain DAG that asks people, where the policy says so."""
BUDGET_TASK = "budget"
"""The first task of a retrain DAG, where there is a bound on what it may cost."""
FORM_FIELDS = ("training_share", "trials", "seed", "source", "dry_run")
"""Fields of the trigger form that have a value of their own; all else goes into its `overrides`."""
RETRAIN_TAGS = (Tag.NORIA.value, Tag.RETRAIN.value)
ROLLBACK_TAGS = (Tag.NORIA.value, Tag.ROLLBACK.value)
COSTS_DAG = "export_costs"
"""Id of the nightly DAG. Whoever may read it may see the cost report, which shows all pipelines."""
COSTS_TAGS = (Tag.NORIA.value, Tag.COSTS.value)
ALERTS_DAG = "send_alerts"
"""Id of the DAG that sends the mails that had to wait."""
ALERTS_TAGS = (Tag.NORIA.value, Tag.ALERTS.value)


def task_defaults(pipeline: Pipeline) -> dict[str, Any]:
    """`default_args` of a pipeline's DAGs."""
    return {"owner": pipeline.owner, **retries()}


def retries() -> dict[str, Any]:
    """How often and for how long a task is tried."""
    return {
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
{_asked(pipeline)}
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
{_more_tasks(pipeline)}
A run keeps the spec that it began with. Clear a failed task to try it again as it was; trigger a new run to use a spec
that was changed. *Trigger* opens a form: training share, trials, seed, source, dry run, and any other value of
pipeline.yaml by its dotted key; what it says of `gate` can make the gate stricter for one run, never looser.

**To go back** to a former champion, trigger `{pipeline.name}{ROLLBACK_SUFFIX}`.
"""


def rollback_docs(pipeline: Pipeline) -> str:
    """Documentation of `<pipeline>__rollback` in Markdown."""
    return f"""\
### {pipeline.name}: go back to a former champion

| | |
|---|---|
| **Owner** | {pipeline.owner} |
| **Alerts to** | {", ".join(pipeline.alerts.emails) or "nobody"} |

**What a run does.** It makes a version the champion again that was the champion before: the one before the present one,
or the version that the form names. That version must have been let in by a signed verdict, and must load and score the
newest data today. Who triggered the run and the reason are kept in the history of promotions for good.

**When it fails**, the log of the task and the mail say why: there is no champion before this one, the version never was
the champion, or its model no longer loads or scores. The champion is the one that it was then. A failure after the
registry was written to leaves the rollback unfinished: clear the task to complete it; `noria history {pipeline.name}`
and `noria doctor` tell.

The next run of `{pipeline.name}{RETRAIN_SUFFIX}` judges its candidate against the champion that this makes.
"""


def _asked(pipeline: Pipeline) -> str:
    policy = pipeline.gate.approval
    if policy is None:
        return ""
    who = ", ".join(policy.approvers) or "everyone who may act on this DAG"
    return f"""
**People are asked.** Before a candidate becomes the champion, the task *{APPROVE_TASK}* puts the comparison to {who}
and waits at most {policy.timeout_hours:g} hours (tab *Required Actions*). No answer is a no. The next run begins when
this one has ended, so a question holds it back.
"""


def _more_tasks(pipeline: Pipeline) -> str:
    budget = """\
| budget | the run would break its budget | raise `budget` in pipeline.yaml and trigger anew, or clear it another day |
"""
    before = budget if pipeline.budget.is_bounded else ""
    if pipeline.gate.approval is None:
        return before
    return f"""\
{before}\
| approve | three answers without a reason | clear the task, so that the question is put again |
| release | the registry does not answer | run `noria doctor`; then clear the task |
"""


JOB_TOLD_TO_END = "is told to end"
"""What the log of a task says once the job elsewhere was cancelled with it; `noria up` waits for it."""
MAIL_LOG = "mail"
"""Which log of a run says that its end was told, or that there was nothing to tell; `noria up --once` waits for it."""
