"""The report stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.report import report

if __name__ == "__main__":
    main("report", report)
