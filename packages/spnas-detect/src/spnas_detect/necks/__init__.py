"""Necks: from the backbone's feature levels to levels of equal channels."""

from spnas_detect.necks._base import Neck, NeckFactory, neck_factory
from spnas_detect.necks.fpn import FPN

__all__ = ["FPN", "Neck", "NeckFactory", "neck_factory"]
