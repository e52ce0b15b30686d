"""The lake on ADLS Gen2, through adlfs, over the blob endpoint.

Data becomes visible with its block list, documents by one request. Nothing is published by renaming, and nothing needs
a hierarchical namespace; with one it runs the same.
"""

from noria.lake.abfs.lake import AbfsLake

__all__ = ["AbfsLake"]
