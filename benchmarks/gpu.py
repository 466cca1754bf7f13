"""The operators and training steps on a GPU, against torchvision's: what a machine with a card prints in one call."""

import argparse
from collections.abc import Callable

import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn

import kernels
from detect import RESNET50, batch_of, step_of
from pairs import HEAD, Row, compare

TITLE = "On a GPU"


def whole_model_step(bfloat16: bool) -> Callable[[], None]:
    """A training step of torchvision's own ``fasterrcnn_resnet50_fpn``, as its detection reference trains it."""
    size = (RESNET50.height, RESNET50.width)
    model = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=RESNET50.classes + 1, min_size=min(size), max_size=max(size)
    )
    model = model.cuda().train()
    images, padded = batch_of(RESNET50)
    targets = [{name: values.cuda() for name, values in padded.image(i).items()} for i in range(len(images))]
    pictures = [image.sigmoid().cuda() for image in images]  # it normalises what lies in [0, 1]
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=1e-4, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
            losses = model(pictures, targets)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


def steps() -> list[Row]:
    """Training steps of Faster R-CNN on ResNet-50, 2 images of 800×1216, in both precisions and formats."""
    found = []
    for bfloat16 in (False, True):
        name = "bfloat16" if bfloat16 else "float32"
        theirs = whole_model_step(bfloat16)
        for title, layout in (("NCHW", torch.contiguous_format), ("channels-last", torch.channels_last)):
            ours = step_of(RESNET50, True, layout, "cuda", bfloat16=bfloat16)
            parts = step_of(RESNET50, False, layout, "cuda", bfloat16=bfloat16)
            found += [
                compare(f"step, {name}, {title}, against its heads on our backbone", ours, parts, repeats=7),
                compare(f"step, {name}, {title}, against `fasterrcnn_resnet50_fpn`", ours, theirs, repeats=7),
            ]
    return found


def run(_: argparse.Namespace) -> str:
    """Measure and return the tables.

    Raises:
        SystemExit: there is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise SystemExit("the gpu benchmark needs a CUDA device")
    card = torch.cuda.get_device_properties(0)
    lines = "\n".join(map(str, steps()))
    table = f"**Training steps, {RESNET50.description}** (per step of {RESNET50.images} images)\n\n{HEAD}\n{lines}"
    print(table, flush=True)
    return "\n\n".join([f"{card.name}, {card.total_memory / 2**30:.0f} GiB.", kernels.tables("cuda"), table])
