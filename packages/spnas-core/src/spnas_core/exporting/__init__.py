"""Networks for other frameworks: ONNX, torch.export, and plain PyTorch source that needs nothing of spnas."""

from spnas_core.exporting._base import Exportable, ExporterPlugin, export_network, exporter_plugin, largest_difference
from spnas_core.exporting.backbones import exportable_backbone

__all__ = [
    "Exportable",
    "ExporterPlugin",
    "export_network",
    "exportable_backbone",
    "exporter_plugin",
    "largest_difference",
]
