"""Where a job runs (a child process, Dask, Spark) and what it used. What the job does belongs to the stages."""
