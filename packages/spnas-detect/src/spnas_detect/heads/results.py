"""What a detector gives, losses and detections, held to its contract: a plugin's may give anything."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.errors import PluginError
from spnas_detect.heads.detections import Detections


def known_losses(detector: nn.Module, losses: object) -> dict[str, Tensor]:
    """Return what a detector gave as its losses, if that is what they must be.

    Raises:
        PluginError: they are no dict of single numbers that gradients flow through.
    """
    if not isinstance(losses, Mapping) or not losses:
        raise PluginError(f"{_named(detector)} gives losses {type(losses).__name__}: they must be a dict of Tensors")
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.dim() != 0 or not loss.is_floating_point():
            what = f"{loss.dtype}{list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise PluginError(
                f"{_named(detector)} gives the loss {name!r} as {what}: it must be a Tensor of one number"
            )
    if torch.is_grad_enabled() and not any(loss.requires_grad for loss in losses.values()):
        raise PluginError(f"{_named(detector)} gives losses without gradients: nothing can be learnt from them")
    return cast("dict[str, Tensor]", losses)


def known_detections(detector: nn.Module, found: object, images: int) -> Detections:
    """Return what a detector has found, if that has the shapes that it must have.

    Args:
        detector: that found it.
        found: by ``detect``.
        images: number of images.

    Raises:
        PluginError: it is something else.
    """
    if not isinstance(found, Detections) or not all(isinstance(part, Tensor) for part in found):
        raise PluginError(f"{_named(detector)} detects {type(found).__name__}: it must be Detections, of Tensors")
    rows = found.boxes.shape[1] if found.boxes.dim() == 3 else 0
    wanted = {"boxes": (images, rows, 4), "scores": (images, rows), "labels": (images, rows), "counts": (images,)}
    shapes = {name: tuple(part.shape) for name, part in zip(found._fields, found, strict=True)}
    if shapes != wanted:
        raise PluginError(
            f"{_named(detector)} detects {listed(shapes)}: of {images} images it must be {listed(wanted)}"
        )
    return found


def _named(detector: nn.Module) -> str:
    kind = type(detector)
    return f"detector {kind.__qualname__} of {kind.__module__}"


def listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Name shapes in a message."""
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) or "nothing"
