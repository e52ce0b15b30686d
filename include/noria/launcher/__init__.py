"""`make run`: starts Airflow's components on loopback, watches them and follows the run.

Knows processes, not pipelines.
"""
