"""Which pipeline folders there are: the ones that parse, and what is wrong with the others."""

from __future__ import annotations

from noria.errors import SpecError
from noria.pipeline import SPEC_FILE, Pipeline, find_pipelines, load_spec
from noria.settings import Settings


def good_pipelines() -> list[Pipeline]:
    """Every pipeline whose folder parses."""
    return _read()[0]


def raise_for_broken_pipelines() -> None:
    """Name every pipeline folder that does not parse.

    Raises:
        SpecError: At least one folder does not parse; the message holds file, line and key of each fault.
    """
    faults = _read()[1]
    if faults:
        raise SpecError("\n".join(faults))


def _read() -> tuple[list[Pipeline], list[str]]:
    good, faults = [], []
    for folder in find_pipelines(Settings.from_env().pipelines).values():
        try:
            good.append(load_spec(folder / SPEC_FILE))
        except SpecError as error:
            faults.append(str(error))
    return good, faults
