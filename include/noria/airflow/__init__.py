"""Hooks, operators, triggers, notifiers, assets and params: the only part that imports Airflow.

No rule of the business lives here.
"""
