"""The validate stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.validate import validate

if __name__ == "__main__":
    main("validate", validate)
