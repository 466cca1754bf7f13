"""Stems: what brings the image to a quarter of its size before the first stage."""

from spnas_core.stems._base import StemSpec
from spnas_core.stems.convolutional import CONV7, DEEP, ConvolutionalStem
from spnas_core.stems.registry import stem_spec, stem_specs

__all__ = ["CONV7", "DEEP", "ConvolutionalStem", "StemSpec", "stem_spec", "stem_specs"]
