"""`<pipeline>__retrain`, one DAG for each pipeline folder: retrain, judge and promote every day.

A new pipeline is a new folder with a pipeline.yaml; nothing here changes. A folder that no DAG can be made of is left
out here and named by an import error of broken_pipelines.py.
"""

from airflow.sdk import DAG, TaskGroup

from noria.airflow.approval import ApproveOperator
from noria.airflow.assets import model_asset, snapshot_asset
from noria.airflow.budget import BudgetOperator, has_bounds
from noria.airflow.operators import SparkStageOperator, StageOperator
from noria.airflow.pipelines import good_pipelines
from noria.airflow.retrain import dag_arguments

for pipeline in good_pipelines():
    name = pipeline.name
    with DAG(**dag_arguments(pipeline)):
        with TaskGroup("data", prefix_group_id=False, tooltip="What we learn from"):
            ingest = StageOperator(stage="ingest", pipeline=name, outlets=[snapshot_asset(name)])
            validate = StageOperator(stage="validate", pipeline=name)
            explore = SparkStageOperator(stage="explore", pipeline=name)

        with TaskGroup("model", prefix_group_id=False, tooltip="What we learn, and whether it is good enough"):
            train = StageOperator(stage="train", pipeline=name)
            decided = promote = StageOperator(stage="promote", pipeline=name, outlets=[model_asset(name)])
            if pipeline.gate.approval:
                approve = ApproveOperator(pipeline=pipeline)
                decided = StageOperator(stage="release", pipeline=name, outlets=[model_asset(name)])
                promote >> approve >> decided

        # A teardown runs whatever happened before it, and leaves the verdict on the run to the other tasks. With
        # on_failure_fail_dagrun it would be the run's only leaf, and a run that failed before it would be a success.
        report = StageOperator(stage="report", pipeline=name).as_teardown()

        if has_bounds(pipeline):
            BudgetOperator(pipeline=pipeline) >> ingest
        ingest >> validate >> explore >> train >> promote
        decided >> report
