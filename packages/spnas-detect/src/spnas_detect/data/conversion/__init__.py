"""Writing data sets in other layouts: as they are read, after every repair."""

from spnas_detect.data.conversion._base import Layout, Written
from spnas_detect.data.conversion.coco import CocoLayout
from spnas_detect.data.conversion.writing import Converted, convert
from spnas_detect.data.conversion.yolo import YoloLayout

LAYOUTS: dict[str, Layout] = {"coco": CocoLayout(), "yolo": YoloLayout()}
"""The layouts that can be written, by the kind of data that reads them."""

__all__ = ["LAYOUTS", "CocoLayout", "Converted", "Layout", "Written", "YoloLayout", "convert"]
