"""Detectors: a backbone, a neck, and heads that give losses or detections."""

from spnas_detect.detectors._base import Detections, Detector, DetectorFactory, Target, detector_factory
from spnas_detect.detectors.building import build_detector
from spnas_detect.detectors.faster_rcnn import FasterRCNN
from spnas_detect.detectors.settings import DetectorSettings

__all__ = [
    "Detections",
    "Detector",
    "DetectorFactory",
    "DetectorSettings",
    "FasterRCNN",
    "Target",
    "build_detector",
    "detector_factory",
]
