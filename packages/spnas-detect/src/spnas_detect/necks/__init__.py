"""Necks: from the backbone's feature levels to levels of equal channels."""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
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

__getattr__ = lazy_attributes(
    __name__,
    {
        "BiFPN": "spnas_detect.necks.bifpn",
        "DENSE_NECKS": "spnas_detect.necks.dpc",
        "DPC": "spnas_detect.necks.dpc",
        "FPN": "spnas_detect.necks.fpn",
        "HRFPN": "spnas_detect.necks.hrfpn",
        "LevelMap": "spnas_detect.necks.levels",
        "MERGE": "spnas_detect.necks.nas_fpn",
        "NASFPN": "spnas_detect.necks.nas_fpn",
        "Neck": "spnas_detect.necks._base",
        "NeckFactory": "spnas_detect.necks._base",
        "NeckFamily": "spnas_detect.necks._base",
        "PAFPN": "spnas_detect.necks.pafpn",
        "PUBLISHED_CHANNELS": "spnas_detect.necks._base",
        "draw_branches": "spnas_detect.necks.dpc",
        "draw_cell": "spnas_detect.necks.cell_text",
        "format_branches": "spnas_detect.necks.dpc",
        "format_cell": "spnas_detect.necks.cell_text",
        "neck_factory": "spnas_detect.necks._base",
        "neck_name": "spnas_detect.necks._base",
        "neck_of": "spnas_detect.necks._base",
        "parse_branches": "spnas_detect.necks.dpc",
        "parse_cell": "spnas_detect.necks.cell_text",
    },
)
