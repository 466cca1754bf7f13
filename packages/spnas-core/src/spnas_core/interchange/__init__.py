"""Weights from and for other libraries."""

from spnas_core.interchange.coco_classes import COCO_CLASSES
from spnas_core.interchange.torchvision import from_torchvision, to_torchvision, torchvision_architecture
from spnas_core.interchange.torchvision_detectors import TorchvisionDetector, from_torchvision_detector

__all__ = [
    "COCO_CLASSES",
    "TorchvisionDetector",
    "from_torchvision",
    "from_torchvision_detector",
    "to_torchvision",
    "torchvision_architecture",
]
