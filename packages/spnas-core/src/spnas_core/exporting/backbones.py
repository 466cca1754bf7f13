"""Backbones as networks that can be exported."""

import torch
from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone
from spnas_core.exporting._base import Exportable


class Levels(nn.Module):
    """A backbone whose levels leave as a tuple, finest first.

    Args:
        backbone: whose levels they are.
    """

    def __init__(self, backbone: AnyBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map Tensor[N, 3, H, W] to Tensor[N, C, H / r, W / r] per level."""
        return tuple(self.backbone(images).values())


def exportable_backbone(backbone: AnyBackbone, image_size: tuple[int, int], batch: int = 1) -> Exportable:
    """Return a backbone as exporters take it.

    Args:
        backbone: on the CPU; it is brought into evaluation mode.
        image_size: (width, height) in pixels of the images.
        batch: number of images.
    """
    width, height = image_size
    images = torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    info = backbone.feature_info
    levels = {stage.name: {"channels": stage.channels, "reduction": stage.reduction} for stage in info.stages}
    facts = {"architecture": str(backbone.architecture), "levels": levels}
    return Exportable(Levels(backbone).eval(), images, tuple(info.names()), f"backbone {backbone.architecture}", facts)
