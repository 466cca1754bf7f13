"""Residual block types: what a block consists of, and the module built from that."""

from spnas_core.blocks._base import PROJECTION, BlockSpec, ConvLayer
from spnas_core.blocks.registry import block_spec, block_specs, canonical_block_name
from spnas_core.blocks.residual import BASIC, BOTTLENECK, ResidualBlock, ResidualSpec, resnext

__all__ = [
    "BASIC",
    "BOTTLENECK",
    "PROJECTION",
    "BlockSpec",
    "ConvLayer",
    "ResidualBlock",
    "ResidualSpec",
    "block_spec",
    "block_specs",
    "canonical_block_name",
    "resnext",
]
