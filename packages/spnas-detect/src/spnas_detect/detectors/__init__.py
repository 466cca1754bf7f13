"""Detectors: a backbone, a neck, and heads that give losses or detections."""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
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

__getattr__ = lazy_attributes(
    __name__,
    {
        "CascadeRCNN": "spnas_detect.detectors.cascade_rcnn",
        "Detections": "spnas_detect.heads.detections",
        "Detector": "spnas_detect.detectors._base",
        "DetectorDescription": "spnas_detect.detectors.description",
        "DetectorFactory": "spnas_detect.detectors._base",
        "DetectorSettings": "spnas_detect.detectors.settings",
        "FasterRCNN": "spnas_detect.detectors.faster_rcnn",
        "RetinaNet": "spnas_detect.detectors.retinanet",
        "TrainedOn": "spnas_detect.detectors.training_data",
        "build_detector": "spnas_detect.detectors.building",
        "detector_factory": "spnas_detect.detectors._base",
        "read_description": "spnas_detect.detectors.description",
    },
)
