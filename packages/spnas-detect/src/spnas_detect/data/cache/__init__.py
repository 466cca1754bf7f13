"""Images decoded and resized once per run, memory-mapped and shared by all workers.

On disk: ``<folder>/<kind>-<hash>/cache.json`` with, per split, ``images.npy`` (uint8[N, 3, H, W]) and
``annotations.npz``; a box's tags are a number there, of an entry of the list in ``cache.json``. The folder is
written under a temporary name and renamed when it is complete, so a folder under its final name is always whole,
whoever is killed and however many processes build it at once.
"""

from spnas_detect.data.cache.building import build_cache
from spnas_detect.data.cache.reading import CachedData, CachedSplit, open_cache

__all__ = ["CachedData", "CachedSplit", "build_cache", "open_cache"]
