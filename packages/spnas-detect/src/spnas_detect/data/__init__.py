"""Detection data: readers, the shared image cache, augmentation and batches."""

from spnas_detect.data._base import READERS, DetectionData, ImageRecord, Reader, open_data
from spnas_detect.data.cache import CachedData, CachedSplit, build_cache, open_cache
from spnas_detect.data.loader import Loader, normalize
from spnas_detect.data.shapes import ShapesOptions
from spnas_detect.data.transforms import Augmentation, train_augmentation

__all__ = [
    "READERS",
    "Augmentation",
    "CachedData",
    "CachedSplit",
    "DetectionData",
    "ImageRecord",
    "Loader",
    "Reader",
    "ShapesOptions",
    "build_cache",
    "normalize",
    "open_cache",
    "open_data",
    "train_augmentation",
]
