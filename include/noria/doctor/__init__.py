"""Whether this machine and these settings can run Noria: one check a subject, each with what to do about it.

`local` looks at the machine, `azure` at the services that the profile azure lives on; nothing here mends anything.
"""

from noria.doctor.examination import examine
from noria.doctor.finding import Finding

__all__ = ["Finding", "examine"]
