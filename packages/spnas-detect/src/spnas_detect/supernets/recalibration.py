"""Statistics of a part's own for norms that all parts of a network have shared.

Chen et al., "DetNAS: Backbone Search for Object Detection", NeurIPS 2019: statistics that were gathered over all paths
are those of none, so each path gathers its own, over training batches, before it is scored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import cast

import torch
from torch import nn

from spnas_detect.data import Loader
from spnas_detect.detectors import Detector
from spnas_detect.detectors.pyramid import levels_beyond, pyramid
from spnas_detect.training.norms import FrozenNorm
from spnas_detect.training.precision import uses_bfloat16


@torch.no_grad()
def recalibrate(detector: Detector, loader: Loader, batches: int, device: torch.device, precision: str = "auto") -> int:
    """Reset the statistics of all norms of backbone and neck, and gather them anew; nothing else changes.

    Afterwards a norm's running mean is the mean of the batches' means, its running variance the mean of their unbiased
    variances. Frozen norms and group norms stay as they are.

    Args:
        detector: also an ``nn.Module``; it is left in evaluation mode.
        loader: training images, from epoch 0 on.
        batches: how many; the loader begins again where an epoch has fewer.
        device: where the detector lives.
        precision: see ``TrainingSettings``.

    Returns:
        How many norms there are; none needs a batch.
    """
    backbone, neck, extra = detector.backbone, detector.neck, levels_beyond(cast("nn.Module", detector))
    norms = [
        layer
        for part in (backbone, neck)
        for layer in part.modules()  # type: ignore[union-attr]
        if isinstance(layer, nn.BatchNorm2d) and not isinstance(layer, FrozenNorm) and layer.track_running_stats
    ]
    if not norms:
        return 0
    detector.eval()  # type: ignore[attr-defined]
    with _gathering(norms):
        for batch in islice((batch for epoch in count() for batch in loader.epoch(epoch)), batches):
            images = batch.to(device).inputs()
            with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device)):
                pyramid(backbone, cast("nn.Module", neck), images, extra)
    return len(norms)


@contextmanager
def _gathering(norms: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Let norms normalise by the batch, and average over all batches."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
