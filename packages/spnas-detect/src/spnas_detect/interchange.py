"""Backbones inside torchvision's detectors."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool

from spnas_core.backbones import AnyBackbone
from spnas_core.encoding import Architecture
from spnas_core.errors import CodeError, suggestion
from spnas_core.interchange.timm import as_backbone


class ChosenStages(nn.Module):
    """A backbone that returns some of its stages.

    Args:
        backbone: whose stages they are.
        stages: their names, finest first.
    """

    def __init__(self, backbone: AnyBackbone, stages: Sequence[str]) -> None:
        super().__init__()
        self.backbone = backbone
        self.stages = tuple(stages)

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Map Tensor[N, 3, H, W] to the chosen features."""
        features = self.backbone(images)
        return OrderedDict((name, features[name]) for name in self.stages)


def backbone_with_fpn(
    network: AnyBackbone | Architecture | str,
    out_channels: int = 256,
    *,
    stages: Sequence[str] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
    norm_layer: Callable[..., nn.Module] | None = None,
) -> BackboneWithFPN:
    """Put torchvision's pyramid on a backbone, for ``torchvision.models.detection.FasterRCNN(backbone, num_classes)``.

    Example: ``FasterRCNN(backbone_with_fpn("r_111-2111-211111-211"), num_classes=91)``.

    Args:
        network: a backbone, an architecture, or its code.
        out_channels: of every level.
        stages: that the pyramid reads, finest first; all that the backbone returns by default.
        extra_blocks: what makes coarser levels; torchvision's pooling by default.
        norm_layer: of the pyramid; none by default.

    Returns:
        A module whose ``body`` is the backbone, whose ``fpn`` has fresh weights, and which maps Tensor[N, 3, H, W] to
        an ordered dict of levels named by their stages (``s1``, …, and ``pool``). torchvision's detectors pool from the
        names ``0`` to ``3`` by default: give them ``MultiScaleRoIAlign(["s1", …], 7, 2)``.

    Raises:
        CodeError: the code cannot be read, or it has no such stage.
    """
    body = as_backbone(network)
    known = body.feature_info.names()
    for name in stages or ():
        if name not in known:
            raise CodeError(f"{body.architecture} returns no stage {name!r}{suggestion(name, known)}")
    wanted = known if stages is None else [name for name in known if name in set(stages)]
    channels = dict(zip(known, body.feature_info.channels(), strict=True))
    module = BackboneWithFPN.__new__(BackboneWithFPN)
    nn.Module.__init__(module)  # its own constructor cuts networks into children, and a backbone says what it returns
    module.body = body if wanted == known else ChosenStages(body, wanted)
    module.fpn = FeaturePyramidNetwork(
        [channels[name] for name in wanted],
        out_channels,
        extra_blocks=LastLevelMaxPool() if extra_blocks is None else extra_blocks,
        norm_layer=norm_layer,
    )
    module.out_channels = out_channels
    return module
