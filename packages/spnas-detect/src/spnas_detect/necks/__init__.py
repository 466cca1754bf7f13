"""Necks: from the backbone's feature levels to levels of equal channels."""

from spnas_detect.necks._base import Neck, NeckFactory, neck_factory
from spnas_detect.necks.bifpn import BiFPN
from spnas_detect.necks.fpn import FPN
from spnas_detect.necks.hrfpn import HRFPN
from spnas_detect.necks.levels import LevelMap
from spnas_detect.necks.nas_fpn import NASFPN
from spnas_detect.necks.pafpn import PAFPN

__all__ = ["FPN", "HRFPN", "NASFPN", "PAFPN", "BiFPN", "LevelMap", "Neck", "NeckFactory", "neck_factory"]
