"""Pascal VOC's layout, as VOC has it and as other programs export it."""

from spnas_detect.data.voc.reader import read_voc

__all__ = ["read_voc"]
