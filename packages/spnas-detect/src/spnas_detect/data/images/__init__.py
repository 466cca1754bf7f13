"""Image files: found, looked at by their headers, decoded to RGB of eight bit, and turned by one rule."""

from spnas_detect.data.images.finding import ImageFinder
from spnas_detect.data.images.looking import LookedAt, look_at
from spnas_detect.data.images.opening import IMAGE_SUFFIXES, MAX_PIXELS, ImageHeader, read_header
from spnas_detect.data.images.options import IMAGE_OPTIONS, ImageOptions, image_options
from spnas_detect.data.images.reading import ImageFile, common_folder, image_size, read_image

__all__ = [
    "IMAGE_OPTIONS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageFile",
    "ImageFinder",
    "ImageHeader",
    "ImageOptions",
    "LookedAt",
    "common_folder",
    "image_options",
    "image_size",
    "look_at",
    "read_header",
    "read_image",
]
