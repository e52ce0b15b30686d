"""The train stage as a process; see `noria.jobs.runner`."""

from noria.jobs.runner import main
from noria.stages.train import train

if __name__ == "__main__":
    main("train", train)
