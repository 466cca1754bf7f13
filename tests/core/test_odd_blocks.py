"""Legal block types of plugins that are unlike the built-in ones: biases, other layers where they stride, no norm."""

import pytest
import torch

from spnas_core import Architecture, build_backbone
from spnas_core.backbones import blank_network, read_network
from spnas_core.blocks import block_spec
from spnas_core.errors import ExportError
from spnas_core.exporting import exportable_backbone, exporter_plugin
from spnas_core.inheritance import materialise
from spnas_core.morphisms import align
from spnas_core.testing import BlockContract

SOURCE = """
from dataclasses import dataclass

from torch import nn

from spnas_core.blocks import PROJECTION, ConvLayer, ResidualBlock
from spnas_core.hookspecs import hookimpl


class Bare(nn.Module):
    def __init__(self, layers):
        super().__init__()
        for layer in layers:
            conv = nn.Conv2d(
                layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding, bias=False
            )
            if layer.name == PROJECTION:
                self.projection = nn.Sequential()
                self.projection.add_module("conv", conv)
            else:
                self.add_module(layer.name, conv)
                self.add_module(layer.norm, nn.BatchNorm2d(layer.out_channels))

    def forward(self, x):
        shortcut = self.projection(x) if hasattr(self, "projection") else x
        return (self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())) + shortcut).relu()


@dataclass(frozen=True)
class Odd:
    name: str
    aliases: tuple = ()
    summary: str = "a block of a plugin"
    silent_norm: str = "bn2"

    def check(self, base):
        pass

    def out_channels(self, planes):
        return planes

    def layers(self, inputs, planes, stride):
        branch = [ConvLayer("conv1", inputs, planes, 3, stride)]
        branch.append(ConvLayer("conv2", planes, planes, 3, has_bias=self.name == "biased"))
        if self.name == "striding" and stride == 2:
            branch.append(ConvLayer("conv3", planes, planes, 3))
        if stride > 1 or inputs != planes:
            branch.append(ConvLayer(PROJECTION, inputs, planes, 1, stride, has_norm=self.name != "bare"))
        return tuple(branch)

    def build(self, inputs, planes, stride):
        layers = self.layers(inputs, planes, stride)
        return Bare(layers) if self.name == "bare" else ResidualBlock(layers)


@hookimpl
def spnas_register_blocks(register):
    for name in ("biased", "striding", "bare"):
        register(name, Odd(name))
"""


@pytest.fixture(autouse=True)
def _installed(install):
    install("odd-blocks", SOURCE)


def test_branches_of_a_stage_keep_the_biases_of_the_code():
    whole, branched = (
        set(blank_network(read_network(text)).state_dict())
        for text in ("biased@16_11-21-21", "trident(biased@16_11-21-21)")
    )
    assert "blocks.2.conv2.bias" in whole
    assert whole <= branched


def test_a_source_without_biases_is_not_written_for_blocks_that_have_some(tmp_path):
    network = exportable_backbone(build_backbone("biased@8_1-21"), (64, 64))
    with pytest.raises(ExportError, match="have biases, and the source's have none: export it to onnx"):
        exporter_plugin("source").export(network, tmp_path, "net")


def test_a_block_with_other_layers_where_it_strides_begins_anew_there():
    parent, child = (Architecture.parse(code) for code in ("striding@8_111-11", "striding@16_11-111"))
    module, receipt = materialise(align(parent, child), build_backbone(parent).state_dict())
    assert receipt.new > 0
    assert all(torch.isfinite(level).all() for level in module.eval()(torch.randn(1, 3, 64, 64)).values())


def test_a_projection_without_a_norm_passes_its_input_through():
    contract = BlockContract()
    contract.spec = block_spec("bare")
    contract.test_a_projection_that_is_new_passes_its_input_through()
    parent, child = (Architecture.parse(code) for code in ("bare@8_111-11", "bare@8_11-111"))
    module, _ = materialise(align(parent, child), build_backbone(parent).state_dict())
    projection = module.get_submodule("blocks.2.projection.conv").weight.detach()
    torch.testing.assert_close(projection[:, :, 0, 0], torch.eye(8))
