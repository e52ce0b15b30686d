"""`<pipeline>__retrain`, one DAG for each pipeline folder: retrain, judge and promote every day."""

from airflow.sdk import DAG, TaskGroup

from noria.airflow.defaults import RETRAIN_TAGS, retrain_docs, task_defaults
from noria.airflow.operators import StageOperator
from noria.airflow.params import retrain_params
from noria.airflow.pipelines import good_pipelines

for pipeline in good_pipelines():
    with DAG(
        dag_id=f"{pipeline.name}__retrain",
        description=pipeline.description,
        doc_md=retrain_docs(pipeline),
        schedule=pipeline.schedule,
        catchup=False,
        max_active_runs=1,
        tags=[*RETRAIN_TAGS, pipeline.name],
        params=retrain_params(pipeline),
        default_args=task_defaults(pipeline),
    ):
        with TaskGroup("data", prefix_group_id=False):
            ingest = StageOperator(stage="ingest", pipeline=pipeline.name)
            validate = StageOperator(stage="validate", pipeline=pipeline.name)
            explore = StageOperator(stage="explore", pipeline=pipeline.name)
        with TaskGroup("model", prefix_group_id=False):
            train = StageOperator(stage="train", pipeline=pipeline.name)
            promote = StageOperator(stage="promote", pipeline=pipeline.name)
        report = StageOperator(stage="report", pipeline=pipeline.name).as_teardown(on_failure_fail_dagrun=True)

        ingest >> validate >> explore >> train >> promote >> report
