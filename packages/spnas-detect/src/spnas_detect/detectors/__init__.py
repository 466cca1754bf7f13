"""Detectors: a backbone, a neck, and heads that give losses or detections."""

from spnas_detect.detectors._base import Detector, DetectorFactory, detector_factory
from spnas_detect.detectors.building import build_detector
from spnas_detect.detectors.cascade_rcnn import CascadeRCNN
from spnas_detect.detectors.description import DetectorDescription, read_description
from spnas_detect.detectors.faster_rcnn import FasterRCNN
from spnas_detect.detectors.retinanet import RetinaNet
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.detectors.training_data import TrainedOn
from spnas_detect.heads.detections import Detections

__all__ = [
    "CascadeRCNN",
    "Detections",
    "Detector",
    "DetectorDescription",
    "DetectorFactory",
    "DetectorSettings",
    "FasterRCNN",
    "RetinaNet",
    "TrainedOn",
    "build_detector",
    "detector_factory",
    "read_description",
]
