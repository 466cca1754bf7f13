"""Detection data: readers, the shared image cache, augmentation and batches."""

from spnas_detect.data._base import READERS, DetectionData, ImageRecord, Reader, open_data
from spnas_detect.data.cache import CachedData, CachedSplit, build_cache, open_cache
from spnas_detect.data.shapes import ShapesOptions

__all__ = [
    "READERS",
    "CachedData",
    "CachedSplit",
    "DetectionData",
    "ImageRecord",
    "Reader",
    "ShapesOptions",
    "build_cache",
    "open_cache",
    "open_data",
]
