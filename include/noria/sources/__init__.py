"""Where data comes from: github, https, file, sample.

A source streams bytes into a local file and says where they are from; it does not know what they mean.
"""

from noria.sources.base import Fetched, Source, open_source
from noria.sources.retry import Retry

__all__ = ["Fetched", "Retry", "Source", "open_source"]
