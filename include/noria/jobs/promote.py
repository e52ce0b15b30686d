"""The promote stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.promote import promote

if __name__ == "__main__":
    main("promote", promote)
