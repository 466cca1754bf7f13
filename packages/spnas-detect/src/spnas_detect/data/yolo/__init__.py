"""YOLO's layout, as Ultralytics, Roboflow, CVAT, Label Studio and darknet write it."""

from spnas_detect.data.yolo.reader import read_yolo

__all__ = ["read_yolo"]
