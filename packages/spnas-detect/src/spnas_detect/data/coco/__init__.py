"""COCO's layout, as COCO has it and as other programs export it."""

from spnas_detect.data.coco.reader import read_coco

__all__ = ["read_coco"]
