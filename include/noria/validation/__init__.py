"""Great Expectations on the typed table: the suite of a spec, and its verdict on a data frame.

What becomes of the verdict (stop, report, mail) belongs to the stages; how it looks belongs to `noria.report`.
"""

from noria.validation.judge import judge
from noria.validation.suite import Check, build_suite

__all__ = ["Check", "build_suite", "judge"]
