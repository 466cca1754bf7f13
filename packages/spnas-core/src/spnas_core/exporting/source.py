"""A backbone as one file of plain PyTorch and its weights: nothing of spnas is needed to use it."""

import importlib.util
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import torch
from torch import Tensor, nn

from spnas_core.blocks import ConvLayer, ResidualBlock
from spnas_core.encoding import Architecture
from spnas_core.errors import ExportError
from spnas_core.exporting._base import Exportable
from spnas_core.exporting.backbones import Levels
from spnas_core.networks import Backbone, Statistics
from spnas_core.networks.layout import BlockPlacement, StagePlacement, block_placements, stage_placements
from spnas_core.stems import ConvolutionalStem, stem_spec

TEMPLATE = "source.txt"


HINT = "python3 -m pip install 'spnas-core[export]'"


def export_source(network: Exportable, folder: Path, name: str) -> tuple[Path, ...]:
    """Write ``NAME.py`` and ``NAME.safetensors``.

    Rows that share the main path's weights get copies of them.

    Raises:
        ExportError: it is no backbone, has a block, stem or norm of other code, or what was written computes something
            else, or safetensors is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise ExportError(f"exporting as source needs {error.name}: {HINT}") from None

    if not isinstance(network.module, Levels):
        raise ExportError(f"{network.title} cannot be written as source: that is for backbones alone")
    backbone = network.module.backbone
    if not isinstance(backbone, Backbone) or not isinstance(backbone.architecture, Architecture):
        raise ExportError(
            f"{network.title} cannot be written as source, since it is not what a code alone describes: take onnx or "
            "torch-export"
        )
    _check_plain(backbone)
    module = name.replace("-", "_")
    code, weights = folder / f"{module}.py", folder / f"{module}.safetensors"
    code.write_text(_source(backbone, network, weights.name), encoding="utf-8")
    save_file({key: tensor.contiguous() for key, tensor in plain_tensors(backbone).items()}, weights)
    with torch.no_grad():
        found = _load(code).load(weights)(network.images)
    network.check(tuple(found.values()), code.name)
    return code, weights


def plain_tensors(backbone: Backbone) -> dict[str, Tensor]:
    """Return a backbone's tensors by name, those of shared rows and fusions filled in from what they share."""
    tensors = dict(backbone.state_dict())
    for stage in stage_placements(backbone.architecture):
        for row in range(1, stage.rows + 1):
            for position, block in enumerate(stage.blocks):
                shared = backbone.blocks.get_submodule(str(block.index))
                _fill(tensors, backbone, f"rows.{stage.number}.{row}.{position}", shared)
            _fill(
                tensors, backbone, f"fusions.{stage.number}.{row}", backbone.fusions.get_submodule(f"{stage.number}.1")
            )
    return tensors


def _fill(tensors: dict[str, Tensor], backbone: Backbone, prefix: str, shared: nn.Module) -> None:
    if isinstance(backbone.get_submodule(prefix), Statistics):
        for key, tensor in shared.state_dict().items():
            tensors.setdefault(f"{prefix}.{key}", tensor.clone())


def _check_plain(backbone: Backbone) -> None:
    architecture = backbone.architecture
    other = "export it to onnx or torch-export instead"
    blocks = (block for block in backbone.blocks if type(block) is not ResidualBlock)
    if next(blocks, None) is not None:
        raise ExportError(f"the block type {architecture.block!r} has code of its plugin's own: {other}")
    layers = (layer for place in block_placements(architecture) for layer in (*place.branch, place.projection))
    if any(layer is not None and layer.has_bias and not layer.is_pooled for layer in layers):
        raise ExportError(f"convolutions of {architecture.block!r} have biases, and the source's have none: {other}")
    if not isinstance(stem_spec(architecture.stem), ConvolutionalStem):
        raise ExportError(f"the stem {architecture.stem!r} has code of its plugin's own: {other}")
    for key, module in backbone.named_modules():
        if isinstance(module, nn.GroupNorm) or (hasattr(module, "eps") and not isinstance(module, nn.BatchNorm2d)):
            raise ExportError(f"{key} is a {type(module).__name__}, and the source has batch norm: {other}")


def _source(backbone: Backbone, network: Exportable, weights: str) -> str:
    stages = stage_placements(backbone.architecture)
    text = files(__package__).joinpath(TEMPLATE).read_text(encoding="utf-8")
    eps = {module.eps for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)}
    return Template(text).substitute(
        architecture=backbone.architecture,
        weights=weights,
        size="x".join(str(side) for side in reversed(network.images.shape[-2:])),
        levels=repr({stage.name: (stage.channels, stage.reduction) for stage in backbone.feature_info.stages}),
        eps=repr(eps.pop() if len(eps) == 1 else 1e-5),
        stem="\n".join(_stem(backbone)),
        blocks="\n".join(_blocks(backbone)),
        rows="\n".join(_rows(backbone, stages)),
        forward="\n".join(_forward(backbone, stages)),
    )


def _stem(backbone: Backbone) -> Iterator[str]:
    spec = stem_spec(backbone.architecture.stem)
    for number, layer in enumerate(spec.layers(backbone.architecture.base), 1):
        yield f"            conv{number}={_convolution(layer)},"
        yield f"            bn{number}=nn.BatchNorm2d({layer.out_channels}, EPS),"
        yield f"            relu{number}=nn.ReLU(inplace=True),"
    if spec.pools:
        yield "            pool=nn.MaxPool2d(3, stride=2, padding=1),"


def _convolution(layer: ConvLayer) -> str:
    return (
        f"nn.Conv2d({layer.in_channels}, {layer.out_channels}, {layer.kernel}, stride={layer.stride}, "
        f"padding={layer.padding}, bias=False)"
    )


def _blocks(backbone: Backbone) -> Iterator[str]:
    for place in block_placements(backbone.architecture):
        mark = f"  # {place.index}: stage {place.stage}" if place.position == 0 else ""
        yield f"                {_block(place, backbone.blocks[place.index])},{mark}"


def _block(place: BlockPlacement, module: nn.Module) -> str:
    given = [str([_sizes(layer) for layer in place.branch if not layer.is_pooled])]
    if place.projection is not None:
        given.append(f"projection={_sizes(place.projection)}")
    gate = next((layer for layer in place.branch if layer.is_pooled), None)
    if gate is not None:
        given.append(f"gate={module.gate_behind, gate.in_channels, gate.out_channels}")
    if not module.activates:
        given.append("activates=False")
    return f"Block({', '.join(given)})"


def _sizes(layer: ConvLayer) -> tuple[int, ...]:
    return layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.groups, layer.dilation


def _rows(backbone: Backbone, stages: tuple[StagePlacement, ...]) -> Iterator[str]:
    if not any(stage.rows for stage in stages):
        return
    yield "        self.rows, self.fusions = nn.ModuleDict(), nn.ModuleDict()"
    for stage in stages:
        if not stage.rows:
            continue
        blocks = ", ".join(_block(place, backbone.blocks[place.index]) for place in stage.blocks)
        fusion = f"Fusion({stage.fusion.in_channels}, {stage.fusion.out_channels})"
        names = [str(row) for row in range(1, stage.rows + 1)]
        yield f"        self.rows[{str(stage.number)!r}] = nn.ModuleDict("
        yield f"            {{row: nn.ModuleList([{blocks}]) for row in {names}}}"
        yield "        )"
        yield f"        self.fusions[{str(stage.number)!r}] = nn.ModuleDict({{row: {fusion} for row in {names}}})"


def _forward(backbone: Backbone, stages: tuple[StagePlacement, ...]) -> Iterator[str]:
    """Unroll the network: ``x2`` is the main path behind stage 2, ``x2_1`` its row 1."""
    wanted = backbone.feature_info.names()
    yield "        x0 = self.stem(images)"
    for stage in stages:
        number, before = stage.number, stage.number - 1
        entry = f"x{before}"
        fused = ""
        for row in range(stage.rows, 0, -1):
            source = stage.sources[row - 1]
            begin = f"x{before}" if source == 0 else f"x{before}_{source}"
            yield f"        x{number}_{row} = run(self.rows['{number}']['{row}'], {begin}{fused})"
            fused = f" + resized(self.fusions['{number}']['{row}'](x{number}_{row}), x{before})"
        first, last = stage.blocks[0].index, stage.blocks[-1].index + 1
        yield f"        x{number} = run(self.blocks[{first}:{last}], {entry}{fused})"
        if f"s{number}" == wanted[-1]:
            break
    pairs = ", ".join(f"({name!r}, x{name[1:]})" for name in wanted)
    yield f"        return OrderedDict([{pairs}])"


def _load(file: Path) -> Any:
    """Import a file that was written, under a name that nobody has."""
    name = f"_spnas_export_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ExportError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module
