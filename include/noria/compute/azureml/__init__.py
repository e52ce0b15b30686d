"""Jobs on Azure ML: a stage of a run as a command, a search as a sweep, many partitions in parallel.

What a job does belongs to noria.jobs, which runs the same anywhere; that a task waits for it belongs to noria.airflow.
"""

from noria.compute.azureml.jobs import AzureMLJobs
from noria.compute.azureml.parallel import Partitions
from noria.compute.azureml.sweep import Search

__all__ = ["AzureMLJobs", "Partitions", "Search"]
