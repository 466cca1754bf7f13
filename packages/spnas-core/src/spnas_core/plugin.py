"""What spnas-core itself registers, through the same hooks as everybody."""

from spnas_core.hookspecs import Register, hookimpl


@hookimpl
def spnas_register_blocks(register: Register) -> None:
    """Basic, bottleneck, ResNeXt and dilated blocks; inverted bottlenecks and RegNet's blocks of any size."""
    from spnas_core.blocks.inverted import INVERTED_BOTTLENECKS
    from spnas_core.blocks.regnet import REGNET_BLOCKS
    from spnas_core.blocks.residual import BASIC, BOTTLENECK, DILATED, resnext

    for item in (
        *(BASIC, BOTTLENECK, resnext(32, 4), resnext(32, 8), resnext(64, 4), DILATED),
        *(INVERTED_BOTTLENECKS, REGNET_BLOCKS),
    ):
        register(item.name, item)


@hookimpl
def spnas_register_stems(register: Register) -> None:
    """ResNet's stem and the deep stem."""
    from spnas_core.stems.convolutional import CONV7, DEEP

    for spec in (CONV7, DEEP):
        register(spec.name, spec)


@hookimpl
def spnas_register_morphisms(register: Register) -> None:
    """The morphisms of both phases."""
    from spnas_core.morphisms import AddRow, AddStage, Expand, Halve, Narrow, Remove, Swap, Widen

    for morphism in (Swap(), Expand(), AddStage(), Remove(), Widen(), Narrow(), Halve(), AddRow()):
        register(morphism.name, morphism)


@hookimpl
def spnas_register_exporters(register: Register) -> None:
    """ONNX, torch.export, and plain source."""
    from spnas_core.exporting import ExporterPlugin
    from spnas_core.exporting.onnx import export_onnx
    from spnas_core.exporting.source import export_source
    from spnas_core.exporting.torch_export import export_program

    register("onnx", ExporterPlugin("ONNX, compared by onnxruntime", export_onnx))
    register("torch-export", ExporterPlugin("a torch.export program, .pt2", export_program))
    register("source", ExporterPlugin("one file of plain PyTorch and its weights; backbones alone", export_source))


@hookimpl
def spnas_register_contracts(register: Register) -> None:
    """The suites of sources of backbones, block types, exporters, morphisms, stems and tasks."""
    from spnas_core.testing.suites import (
        backbone_suite,
        block_suite,
        exporter_suite,
        morphism_suite,
        stem_suite,
        task_suite,
    )

    register("backbones", backbone_suite)
    register("blocks", block_suite)
    register("exporters", exporter_suite)
    register("morphisms", morphism_suite)
    register("stems", stem_suite)
    register("tasks", task_suite)
