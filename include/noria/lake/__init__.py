"""Where bytes live: one small file interface, over local disk and ADLS Gen2.

Paths are relative to the lake's root, with `/`. What is published is published whole and never changed: data first, its
manifest last by exclusive create; nothing is published by renaming folders. What the bytes mean belongs to the stages.
"""

from noria.lake.base import Lake, open_lake
from noria.lake.scratch import scratch
from noria.lake.snapshots import SnapshotStore

__all__ = ["Lake", "SnapshotStore", "open_lake", "scratch"]
