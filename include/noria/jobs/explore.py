"""The explore stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.explore import explore

if __name__ == "__main__":
    main("explore", explore)
