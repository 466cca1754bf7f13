"""What is set from images before a training's first step: biases that take away what layers put out on average."""

import copy
from itertools import islice
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from spnas_core.inheritance import InheritancePlan
from spnas_detect.data.cache import CachedSplit
from spnas_detect.data.finishing import finish
from spnas_detect.detectors.pyramid import levels_beyond, pyramid
from spnas_detect.training.memory import explained_memory
from spnas_detect.training.norms import explained_norms
from spnas_detect.training.settings import TrainingSettings

if TYPE_CHECKING:
    from spnas_core.backbones import AnyBackbone


def first_images(split: CachedSplit, count: int, device: torch.device) -> Tensor:
    """Return up to so many images of a split as a network takes them, those of the canvas that most images have."""
    standing = [split.is_transposed(index) for index in range(len(split))]
    usual = 2 * sum(standing) > len(standing)
    indices = list(islice((index for index, one in enumerate(standing) if one == usual), count))
    sizes = torch.tensor([split.resized(index)[::-1] for index in indices], device=device)
    return finish(split.images(indices).to(device), sizes)


@torch.no_grad()
def centre_biases(detector: nn.Module, plan: InheritancePlan, settings: TrainingSettings, split: CachedSplit) -> None:
    """Let the new biases that ``Init("centred")`` asks for take away what their layers put out on average.

    One forward pass of what the heads read suffices: each layer is centred before what follows it runs. Norms normalise
    by the batch, as in a training's first step, and their running statistics stay as they are.

    Krähenbühl et al., "Data-dependent Initializations of Convolutional Neural Networks", ICLR 2016, scale as well.

    Args:
        detector: with children ``backbone`` and ``neck``; its mode and all other tensors stay as they are.
        plan: that it was filled by; a bias that inherits anything is left alone.
        settings: of the training; as many images are taken as are computed at a time.
        split: to train on.

    Raises:
        EvaluationError: a norm inside sees a single value per channel.
        OutOfMemoryError: so many images do not fit.
    """
    inherited = {copied.target for copied in plan.copies}
    names = [fill.target for fill in plan.fills if fill.init.kind == "centred" and fill.target not in inherited]
    if not names:
        return
    device = next(detector.parameters()).device
    with explained_memory(device, (), settings):
        images = first_images(split, settings.batch_size // settings.accumulate, device)
        tried = copy.deepcopy(nn.ModuleDict({part: getattr(detector, part) for part in ("backbone", "neck")})).train()
        extra = copy.deepcopy(levels_beyond(detector))
        for name in names:
            tried.get_submodule(name.removesuffix(".bias")).register_forward_hook(_centre)
        with explained_norms(images.shape):
            pyramid(cast("AnyBackbone", tried["backbone"]), tried["neck"], images, extra)
    for name in names:
        detector.get_parameter(name).copy_(tried.get_parameter(name))


def _centre(layer: nn.Module, _: object, output: Tensor) -> Tensor:
    mean = output.float().mean((0, 2, 3))
    bias = cast("Tensor", layer.bias)
    bias.sub_(mean.to(bias.dtype))
    return output - mean.to(output.dtype)[:, None, None]
