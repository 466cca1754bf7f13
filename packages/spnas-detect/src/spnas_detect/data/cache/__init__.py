"""Images and annotations of a data set, checked once and shared by all workers.

On disk: ``<folder>/<kind>-<hash>/cache.json`` with, per split, ``annotations.npz`` (a box's tags are a number there, of
an entry of the list in ``cache.json``) and, by the cache's form (``modes.py``): ``images.npy``, uint8[N, 3, H, W],
beside ``transposed.npy``, uint8[N, 3, W, H], of images that have the transposed canvas; or ``images.pack``, the bytes
of files. The folder is written under a temporary name and renamed when it is complete, so a folder under its final
name is always whole, whoever is killed and however many processes build it at once.
"""

from spnas_detect.data.cache.building import build_cache, find_cache
from spnas_detect.data.cache.modes import LIMIT, Mode
from spnas_detect.data.cache.reading import CachedData, CachedSplit, open_cache

__all__ = ["LIMIT", "CachedData", "CachedSplit", "Mode", "build_cache", "find_cache", "open_cache"]
