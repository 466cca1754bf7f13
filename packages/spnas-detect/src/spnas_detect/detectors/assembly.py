"""What detectors are put together from in the same way."""

import torch
from torch import Tensor, nn

from spnas_core.inheritance import Init
from spnas_core.networks import Backbone, FeatureInfo
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads import Anchors, ProposalNetwork, PyramidPooler

CANDIDATES_PER_PROPOSAL = 5


def pyramid(backbone: Backbone, neck: nn.Module, images: Tensor) -> list[Tensor]:
    """Compute the neck's levels of Tensor[N, 3, H, W], finest first."""
    return list(neck(backbone(images)).values())


def canvas_sizes(images: Tensor) -> Tensor:
    """float32[N, 2] of (H, W): images that fill their canvas."""
    return torch.tensor(images.shape[-2:], dtype=torch.float32, device=images.device).expand(len(images), 2)


def pyramid_anchors(info: FeatureInfo, settings: DetectorSettings) -> Anchors:
    """Anchors that follow the levels."""
    return Anchors(info.reduction(), settings.anchor_scales, settings.aspect_ratios)


def proposal_network(info: FeatureInfo, settings: DetectorSettings) -> ProposalNetwork:
    """A proposal network on all levels."""
    candidates = settings.rpn_candidates
    if candidates is None:
        candidates = max(1, CANDIDATES_PER_PROPOSAL * settings.rpn_proposals // len(info.stages))
    return ProposalNetwork(
        settings.neck_channels,
        pyramid_anchors(info, settings),
        candidates=candidates,
        proposals=settings.rpn_proposals,
        samples=settings.rpn_samples,
    )


def pyramid_pooler(info: FeatureInfo, settings: DetectorSettings) -> PyramidPooler:
    """A pooler for all levels."""
    finest = settings.finest_size
    if finest is None:
        finest = max(1, round(settings.anchor_scales[0] * info.reduction()[0]))
    return PyramidPooler(info, settings.pooled_size, settings.sampling_ratio, finest)


def two_stage_initial(name: str, shape: torch.Size) -> Init:
    """Detectron's first values: narrow normal for what predicts, Xavier for the hidden layers, zero biases."""
    if len(shape) == 1:
        return Init("zeros")
    if "rpn.head" in name or "cls_score" in name:
        return Init("normal", 0.01)
    if "bbox_pred" in name:
        return Init("normal", 0.001)
    return Init("xavier-uniform")
