"""Detection data: readers, the shared image cache, augmentation and batches."""

from spnas_detect.data._base import (
    READERS,
    DetectionData,
    ImageRecord,
    Reader,
    carve_missing,
    check_options,
    fingerprint,
    open_data,
    read_data,
)
from spnas_detect.data.cache import CachedData, CachedSplit, build_cache, find_cache, open_cache
from spnas_detect.data.crops import BACKGROUND, crops_from
from spnas_detect.data.faults import Fault, FaultyDataError
from spnas_detect.data.finishing import Photometry, finish
from spnas_detect.data.fitting import letterbox
from spnas_detect.data.image_folder import ClassificationData, LabelledImage, open_image_folder
from spnas_detect.data.images import read_image
from spnas_detect.data.loader import Batch, Loader
from spnas_detect.data.repairs import Repair
from spnas_detect.data.shapes import ShapesOptions
from spnas_detect.data.streaming import StreamedSplit
from spnas_detect.data.targets import Targets, pad_targets
from spnas_detect.data.thumbnails import ThumbnailData, Thumbnails, cache_thumbnails
from spnas_detect.data.transforms import Augmentation, train_augmentation

__all__ = [
    "BACKGROUND",
    "READERS",
    "Augmentation",
    "Batch",
    "CachedData",
    "CachedSplit",
    "ClassificationData",
    "DetectionData",
    "Fault",
    "FaultyDataError",
    "ImageRecord",
    "LabelledImage",
    "Loader",
    "Photometry",
    "Reader",
    "Repair",
    "ShapesOptions",
    "StreamedSplit",
    "Targets",
    "ThumbnailData",
    "Thumbnails",
    "build_cache",
    "cache_thumbnails",
    "carve_missing",
    "check_options",
    "crops_from",
    "find_cache",
    "fingerprint",
    "finish",
    "letterbox",
    "open_cache",
    "open_data",
    "open_image_folder",
    "pad_targets",
    "read_data",
    "read_image",
    "train_augmentation",
]
