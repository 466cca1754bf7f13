"""The contract of a detector."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from spnas_core.inheritance import Init
from spnas_core.networks import SerialBackbone
from spnas_core.plugins import registry
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.necks import Neck

Target = dict[str, Tensor]
"""``boxes`` float32[G, 4] in canvas pixels and ``labels`` int64[G] in 1…C of one image."""

Detections = dict[str, Tensor]
"""``boxes`` float32[K, 4] in canvas pixels, ``scores`` float32[K] descending, ``labels`` int64[K] of one image."""


class Detector(Protocol):
    """A detector is also an ``nn.Module`` with children ``backbone`` and ``neck``; all else belongs to its heads."""

    backbone: SerialBackbone
    neck: Neck

    def losses(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute the named losses of a batch, in training mode; the sum is minimised.

        Args:
            images: Tensor[N, 3, H, W], normalised.
            targets: one per image; an image without boxes is a negative.
        """

    def detect(self, images: Tensor) -> list[Detections]:
        """Detect objects in Tensor[N, 3, H, W], in evaluation mode."""

    def initial(self, name: str, shape: torch.Size) -> Init:
        """Say how a new tensor of the heads starts."""


DetectorFactory = Callable[[SerialBackbone, nn.Module, int, DetectorSettings], nn.Module]
"""Makes a detector from (backbone, neck, number of classes, settings); parameters may be on the meta device."""


def detector_factory(name: str) -> DetectorFactory:
    """Look up a registered detector.

    Raises:
        PluginError: no plugin registers the name.
    """
    factory: DetectorFactory = registry("detectors").get(name)
    return factory
