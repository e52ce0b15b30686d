"""Whether the services that the profile azure lives on are there, complete, and let this identity in.

Nothing here costs anything or leaves anything behind: no job is submitted, and the lake's probe is removed.
"""

from noria.doctor.azure.examination import examine_azure

__all__ = ["examine_azure"]
