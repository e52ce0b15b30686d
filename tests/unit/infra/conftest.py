"""Airflow for these tests: a home of its own."""

from tests.support import airflow  # noqa: F401  before anything imports Airflow
