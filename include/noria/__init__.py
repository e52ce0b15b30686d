"""Noria retrains, judges, promotes and scores models every day.

The library behind the DAGs: importing it is light and reads no environment variable. Only `noria.airflow` imports
Airflow.
"""

__version__ = "0.1.0"
