"""`python -m noria.jobs.<stage>`: the entry points that a child process, Dask, Azure ML and Spark all run.

A job does one stage of one run: it finds the run by reference, meters itself, writes the record and prints its
reference as one JSON object on standard output; logs go to standard error. Nothing here decides anything.
"""
