"""Weights from and for other libraries."""

from spnas_core.interchange.torchvision import from_torchvision, to_torchvision, torchvision_architecture

__all__ = ["from_torchvision", "to_torchvision", "torchvision_architecture"]
