"""``spnas export``: a network for other frameworks."""

from pathlib import Path
from typing import Any, cast

import click
import torch
from torch import nn

from spnas_core.backbones import AnyNetwork, fresh_network, read_reference
from spnas_core.commands.console import make_console
from spnas_core.commands.parameters import IMAGE_SIZE, PATH, REFERENCE, WRITTEN
from spnas_core.errors import CodeError, ExportError
from spnas_core.exporting import Exportable, export_network, exportable_backbone, exporter_plugin
from spnas_core.paths import is_there
from spnas_detect.detectors import DetectorDescription
from spnas_detect.detectors.loading import load_detector
from spnas_detect.exporting import exportable_detector, noise, photograph
from spnas_detect.folders import new_folder
from spnas_detect.inference.sources import find_weights

CANVAS = (224, 224)
"""Of a code alone; weights know theirs."""


@click.command()
@click.argument("reference", metavar="RUN[:ID]|FILE|CODE", type=REFERENCE)
@click.option(
    "--to", "form", default="onnx", show_default=True, help="Registered format: onnx, torch-export, source, …."
)
@click.option(
    "--part",
    type=click.Choice(["backbone", "detector"]),
    default="backbone",
    show_default=True,
    help="The backbone alone, or all from images to boxes.",
)
@click.option(
    "--image", type=IMAGE_SIZE, help="Width and height of the images.  [default: the weights' canvas, or 224x224]"
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Images of the example.")
@click.option("--out", type=WRITTEN, default=Path("exported"), show_default=True, help="Folder.")
@click.option("--example", type=PATH, help="An image that a detector is compared on.  [default: noise]")
def export(
    reference: str,
    *,
    form: str,
    part: str,
    image: tuple[int, int] | None,
    batch: int,
    out: Path,
    example: Path | None,
) -> None:
    """Write a network for other frameworks: ONNX, torch.export, or plain source.

    It is that of a run's best candidate, of a weights file, or of a CODE, whose weights are fresh and which has a
    backbone alone. What was written is loaded again and compared, on noise or on an image. Images are normalised by
    ImageNet's means and deviations, as in training. A detector gives boxes, scores and labels, as many rows as its
    settings say, and how many of them count.

    \b
    Example: spnas export runs/mine --to onnx
    Example: spnas export trainings/voc --part detector --to onnx
    Example: spnas export trainings/voc/weights.safetensors --to source --out backbone
    Example: spnas export r_111-2111-211111-211 --to torch-export --image 640x480
    """
    exporter_plugin(form)  # an unknown one is said before anything is loaded
    if example is not None and part != "detector":
        raise click.UsageError("--example is for --part detector: a backbone is compared on noise")
    network = _detector(reference, image, batch, example) if part == "detector" else _backbone(reference, image, batch)
    with new_folder(out):
        files = export_network(form, network, out, part)
    console = make_console()
    for file in files:
        console.show(f"{file}: {file.stat().st_size:,} bytes")
    _, _, height, width = network.images.shape
    console.show(f"{network.title}: takes images [N, 3, {height}, {width}], gives {_described(network)}")
    if part == "detector" and not int(network.expected()[-1].sum()):
        console.show("warning: nothing is detected on the example, so no box was compared: name an image by --example")


def _described(network: Exportable) -> str:
    levels = network.facts.get("levels")
    if isinstance(levels, dict):
        return ", ".join(f"{name} ({one['channels']} channels, /{one['reduction']})" for name, one in levels.items())
    return ", ".join(
        f"{name} [N{''.join(f', {side}' for side in one.shape[1:])}]"
        for name, one in zip(network.outputs, network.expected(), strict=True)
    )


def _backbone(reference: str, image: tuple[int, int] | None, batch: int) -> Exportable:
    code = _code(reference)
    if code is None:
        detector, description = _loaded(reference)
        backbone, canvas = detector.backbone, description.image_size
    else:
        backbone, canvas = fresh_network(code, seed=0), CANVAS
    return exportable_backbone(backbone, image or canvas, batch)


def _detector(reference: str, image: tuple[int, int] | None, batch: int, example: Path | None) -> Exportable:
    code = _code(reference)
    if code is not None:
        raise ExportError(f"the code {code} is of a backbone alone: name a run or a file of trained weights")
    detector, description = _loaded(reference)
    canvas = image or description.image_size
    images = noise(canvas, batch) if example is None else photograph(example, canvas, batch)
    return exportable_detector(detector, description, images)


def _code(reference: str) -> AnyNetwork | None:
    """Read a reference as a code or a network's name; None where something of that name exists, or it is a path."""
    if is_there(reference.rpartition(":")[0] or reference) or is_there(reference):
        return None
    try:
        return read_reference(reference)
    except CodeError:
        if "/" not in reference and "." not in reference:
            raise
        return None


def _loaded(reference: str) -> tuple[Any, DetectorDescription]:
    detector, description = load_detector(find_weights(reference).path, "cpu")
    return cast("nn.Module", detector).to(memory_format=torch.contiguous_format), description  # type: ignore[call-overload]
