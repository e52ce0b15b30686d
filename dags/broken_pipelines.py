"""Holds no DAG: it is an Airflow import error for as long as a pipeline folder does not parse.

An import error takes away every DAG of its file, so it has this file to itself and the other pipelines stay.
"""

from noria.airflow.pipelines import raise_for_broken_pipelines

raise_for_broken_pipelines()
