"""Residual block types: what a block consists of, and the module built from that."""

from spnas_core.blocks._base import PROJECTION, BlockSpec, ConvLayer, described_layers
from spnas_core.blocks.families import BlockFamily
from spnas_core.blocks.inverted import InvertedBottleneckSpec
from spnas_core.blocks.module import ResidualBlock
from spnas_core.blocks.registry import block_families, block_spec, block_specs, canonical_block_name
from spnas_core.blocks.regnet import RegNetSpec
from spnas_core.blocks.residual import BASIC, BOTTLENECK, DILATED, ResidualSpec, resnext

__all__ = [
    "BASIC",
    "BOTTLENECK",
    "DILATED",
    "PROJECTION",
    "BlockFamily",
    "BlockSpec",
    "ConvLayer",
    "InvertedBottleneckSpec",
    "RegNetSpec",
    "ResidualBlock",
    "ResidualSpec",
    "block_families",
    "block_spec",
    "block_specs",
    "canonical_block_name",
    "described_layers",
    "resnext",
]
