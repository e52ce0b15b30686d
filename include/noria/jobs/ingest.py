"""The ingest stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.ingest import ingest

if __name__ == "__main__":
    main("ingest", ingest)
