from tests.support import airflow  # noqa: F401  before anything imports Airflow
