"""`<pipeline>__rollback`, one DAG for each pipeline folder: go back to a former champion, by a form."""

from airflow.sdk import DAG

from noria.airflow.assets import model_asset
from noria.airflow.pipelines import good_pipelines
from noria.airflow.rollback import RollbackOperator, rollback_arguments

for pipeline in good_pipelines():
    with DAG(**rollback_arguments(pipeline)):
        RollbackOperator(pipeline=pipeline.name, outlets=[model_asset(pipeline.name)])
