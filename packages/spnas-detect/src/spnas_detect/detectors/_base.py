"""The contract of a detector."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone
from spnas_core.inheritance import Init
from spnas_core.plugins import registry
from spnas_detect.data.targets import Targets
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.detections import Detections
from spnas_detect.necks import Neck


class Detector(Protocol):
    """A detector is also an ``nn.Module`` with children ``backbone`` and ``neck``; all else belongs to its heads.

    A detector that has extra levels keeps them as a child ``extra``. One whose tensors have rows for each class may
    tell which by a method ``class_rows(name)``, which returns ``ClassRows`` or None: then classes inherit by name. One
    whose heads read nothing but the neck's levels, and those of ``extra``, may say so by ``reads_levels_alone = True``:
    then what of the backbone no level comes from is not trained, and several processes wait for no gradient of it.
    """

    backbone: AnyBackbone
    neck: Neck

    def losses(
        self, images: Tensor, targets: Targets, *, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Compute the named losses of a batch, in training mode; the sum is minimised.

        Args:
            images: Tensor[N, 3, H, W], normalised.
            targets: of the N images; an image without boxes is a negative.
            generator: decides which anchors and proposals are sampled; the device's default one where it is None.
        """

    def detect(self, images: Tensor, sizes: Tensor | None = None) -> Detections:
        """Detect objects, in evaluation mode.

        Args:
            images: Tensor[N, 3, H, W], normalised.
            sizes: float32[N, 2], (height, width) to which boxes are clipped; H and W where it is None.
        """

    def initial(self, name: str, shape: torch.Size) -> Init:
        """Say how a new tensor of the heads starts."""


DetectorFactory = Callable[[AnyBackbone, nn.Module, int, DetectorSettings], nn.Module]
"""Makes a detector from (backbone, neck, number of classes, settings); parameters may be on the meta device."""


def detector_factory(name: str) -> DetectorFactory:
    """Look up a registered detector.

    Raises:
        PluginError: no plugin registers the name.
    """
    factory: DetectorFactory = registry("detectors").get(name)
    return factory
