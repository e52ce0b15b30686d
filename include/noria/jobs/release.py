"""The release stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.release import release

if __name__ == "__main__":
    main("release", release)
