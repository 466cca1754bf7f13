"""Necks: from the backbone's feature levels to levels of equal channels."""

from spnas_detect.necks._base import (
    PUBLISHED_CHANNELS,
    Neck,
    NeckFactory,
    NeckFamily,
    neck_factory,
    neck_name,
    neck_of,
)
from spnas_detect.necks.bifpn import BiFPN
from spnas_detect.necks.cell_text import draw_cell, format_cell, parse_cell
from spnas_detect.necks.dpc import DENSE_NECKS, DPC, draw_branches, format_branches, parse_branches
from spnas_detect.necks.fpn import FPN
from spnas_detect.necks.hrfpn import HRFPN
from spnas_detect.necks.levels import LevelMap
from spnas_detect.necks.nas_fpn import MERGE, NASFPN
from spnas_detect.necks.pafpn import PAFPN

__all__ = [
    "DENSE_NECKS",
    "DPC",
    "FPN",
    "HRFPN",
    "MERGE",
    "NASFPN",
    "PAFPN",
    "PUBLISHED_CHANNELS",
    "BiFPN",
    "LevelMap",
    "Neck",
    "NeckFactory",
    "NeckFamily",
    "draw_branches",
    "draw_cell",
    "format_branches",
    "format_cell",
    "neck_factory",
    "neck_name",
    "neck_of",
    "parse_branches",
    "parse_cell",
]
