"""Which pipeline folders there are: the ones that a DAG can be made of, and what is wrong with the others."""

from __future__ import annotations

from airflow.sdk import DAG

from noria.airflow.retrain import dag_arguments
from noria.errors import SpecError
from noria.pipeline import SPEC_FILE, Pipeline, find_pipelines, load_spec
from noria.settings import Settings


def good_pipelines() -> list[Pipeline]:
    """Every pipeline that a DAG can be made of."""
    return _read()[0]


def raise_for_broken_pipelines() -> None:
    """Name every pipeline folder that no DAG can be made of.

    Raises:
        SpecError: There is at least one; the message holds file, line and key of each fault.
    """
    faults = _read()[1]
    if faults:
        raise SpecError("\n".join(faults))


def _read() -> tuple[list[Pipeline], list[str]]:
    good, faults = [], []
    for folder in find_pipelines(Settings.from_env().pipelines).values():
        try:
            pipeline = load_spec(folder / SPEC_FILE)
            DAG(**dag_arguments(pipeline))  # what Airflow refuses, such as a tag, is the folder's fault as well
            good.append(pipeline)
        except SpecError as error:
            faults.append(str(error))
        except Exception as error:  # one folder, whatever ails it, must not take the others away
            faults.append(f"{folder / SPEC_FILE}: {type(error).__name__}: {error}")
    return good, faults
