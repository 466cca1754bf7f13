"""What detectors are put together from in the same way."""

import math

import torch
from torch import Tensor

from spnas_core.inheritance import XAVIER_UNIFORM, Init
from spnas_core.networks import FeatureInfo
from spnas_detect.detectors.classes import ClassRows
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads import Anchors, ProposalNetwork, PyramidPooler
from spnas_detect.heads.anchors import Shape
from spnas_detect.heads.box_losses import BoxLoss
from spnas_detect.heads.extra_levels import ExtraLevels, with_extra
from spnas_detect.heads.losses import BoxObjective
from spnas_detect.necks import PUBLISHED_CHANNELS

CANDIDATES_PER_PROPOSAL = 5
HEAD_CHANNELS = 1024  # of the published box head, which its first values were chosen for


def make_extra(info: FeatureInfo, settings: DetectorSettings) -> ExtraLevels | None:
    """The levels beyond the neck's that the settings ask for."""
    kind = settings.extra_levels
    return None if kind is None or kind == "none" else ExtraLevels(kind, info.channels()[-1], settings.neck_channels)


def canvas_shape(images: Tensor) -> Shape:
    """Return (height, width) of Tensor[N, 3, height, width]."""
    return images.shape[-2], images.shape[-1]


def canvas_sizes(images: Tensor) -> Tensor:
    """float32[N, 2] of (H, W): images that fill their canvas."""
    return torch.tensor(images.shape[-2:], dtype=torch.float32, device=images.device).expand(images.shape[0], 2)


def pyramid_anchors(info: FeatureInfo, settings: DetectorSettings) -> Anchors:
    """Anchors on the neck's levels and the extra ones."""
    levels = with_extra(info, settings.extra_levels)
    return Anchors(
        levels.reduction(),
        settings.anchor_scales,
        settings.aspect_ratios,
        sizes=settings.anchor_sizes,
        follows_canvas=settings.anchor_strides == "canvas",
        nominal=levels.nominal_strides(),
    )


def proposal_network(info: FeatureInfo, settings: DetectorSettings) -> ProposalNetwork:
    """A proposal network on the neck's levels and the extra ones."""
    anchors, candidates = pyramid_anchors(info, settings), settings.rpn_candidates
    if candidates is None:
        candidates = max(1, CANDIDATES_PER_PROPOSAL * settings.rpn_proposals // len(anchors.strides))
    return ProposalNetwork(
        settings.neck_channels,
        anchors,
        candidates=candidates,
        proposals=settings.rpn_proposals,
        samples=settings.rpn_samples,
        box_objective=box_objective(settings.rpn_box_loss, settings.rpn_box_loss_weight),
    )


def box_objective(loss: BoxLoss | None, weight: float | None, default: BoxLoss = "smooth-l1") -> BoxObjective:
    """What refined boxes are trained for, where the settings may leave it open."""
    return BoxObjective(loss or default, 1.0 if weight is None else weight)


def pyramid_pooler(info: FeatureInfo, settings: DetectorSettings) -> PyramidPooler:
    """A pooler for the neck's levels; extra ones give proposals, and none is pooled from them."""
    finest = settings.finest_size
    if finest is None:
        finest = max(1, round(min(pyramid_anchors(info, settings).sizes()[0])))
    return PyramidPooler(info, settings.pooled_size, settings.sampling_ratio, finest)


def two_stage_class_rows(name: str) -> ClassRows | None:
    """Of box heads: the background's score, then the classes'; refinements likewise, four each."""
    if ".cls_score." in name:
        return ClassRows(blocks=1, leading=1, width=1)
    return ClassRows(blocks=1, leading=1, width=4) if ".bbox_pred." in name and "rpn." not in name else None


def two_stage_initial(name: str, shape: torch.Size) -> Init:
    """Detectron's first values: narrow normal for what predicts, Xavier for the hidden layers, zero biases."""
    if len(shape) == 1:
        return Init("zeros")
    if "rpn.head" in name:
        return narrow_normal(0.01, shape, PUBLISHED_CHANNELS)
    if "cls_score" in name:
        return narrow_normal(0.01, shape, HEAD_CHANNELS)
    if "bbox_pred" in name:
        return narrow_normal(0.001, shape, HEAD_CHANNELS)
    return XAVIER_UNIFORM


def narrow_normal(std: float, shape: torch.Size, published: int) -> Init:
    """Normal first values by which a layer's outputs start as small as in the published network, whatever its width.

    The variance of a layer's outputs is that of its weights times its inputs (He et al., "Delving Deep into
    Rectifiers", equation 8), so what was chosen for `published` inputs all but vanishes with fewer.

    Args:
        std: the published standard deviation.
        shape: of the weights, outputs by inputs (by kernel).
        published: inputs of the published layer, of the same kernel.
    """
    return Init("normal", std * math.sqrt(published / shape[1]))
