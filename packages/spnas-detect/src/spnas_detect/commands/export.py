"""``spnas export``: a network for other frameworks."""

from pathlib import Path

import click
import torch

from spnas_core.commands.console import make_console
from spnas_core.commands.parameters import IMAGE_SIZE
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError
from spnas_core.exporting import exportable_backbone, exporter_plugin
from spnas_core.networks import Backbone, build_backbone
from spnas_detect.detectors.loading import load_detector
from spnas_detect.inference.sources import find_weights

CANVAS = (224, 224)
"""Of a code alone; weights know theirs."""


@click.command()
@click.argument("reference", metavar="RUN[:ID]|FILE|CODE")
@click.option(
    "--to", "form", default="onnx", show_default=True, help="Registered format: onnx, torch-export, source, …."
)
@click.option(
    "--image", type=IMAGE_SIZE, help="Width and height of the images.  [default: the weights' canvas, or 224x224]"
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images of the example.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("exported"), show_default=True, help="Folder.")
def export(reference: str, *, form: str, image: tuple[int, int] | None, batch: int, out: Path) -> None:
    """Write a network for other frameworks: ONNX, torch.export, or plain source.

    It is the backbone of a run's best candidate, of a weights file, or of a CODE, whose weights are fresh. What was
    written is loaded again and compared. Images are normalised by ImageNet's means and deviations, as in training.

    \b
    Example: spnas export runs/mine --to onnx
    Example: spnas export trainings/voc/weights.safetensors --to source --out backbone
    Example: spnas export r_111-2111-211111-211 --to torch-export --image 640x480
    """
    plugin = exporter_plugin(form)
    backbone, canvas = _backbone(reference)
    network = exportable_backbone(backbone, image or canvas, batch)
    out.mkdir(parents=True, exist_ok=True)
    console = make_console()
    for file in plugin.export(network, out, "backbone"):
        console.show(f"{file}: {file.stat().st_size:,} bytes")
    stages = backbone.feature_info.stages
    levels = ", ".join(f"{stage.name} ({stage.channels} channels, /{stage.reduction})" for stage in stages)
    _, _, height, width = network.images.shape
    console.show(f"{network.title}: takes images [N, 3, {height}, {width}], gives {levels}")


def _backbone(reference: str) -> tuple[Backbone, tuple[int, int]]:
    """Return a backbone and the (width, height) of its images."""
    if not Path(reference.rpartition(":")[0] or reference).exists() and not Path(reference).exists():
        try:
            architecture = Architecture.parse(reference)
        except CodeError:
            if "/" not in reference and "." not in reference:
                raise
        else:
            return build_backbone(architecture, generator=torch.Generator().manual_seed(0)), CANVAS
    detector, description = load_detector(find_weights(reference).path, "cpu")
    detector.backbone.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return detector.backbone, description.image_size
