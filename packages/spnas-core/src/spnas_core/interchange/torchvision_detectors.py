"""Names of torchvision's Faster R-CNN and RetinaNet with FPN, translated to those of our detectors.

Their ``state_dict`` has the ResNet under ``backbone.body``, the neck under ``backbone.fpn``, and heads whose modules
are named as ours are. Files from before torchvision 0.13 have older names of some convolutions, which are read too.

What the second versions have beyond the first has no counterpart, but for the norms of the neck: these are linear
where nothing is trained, and are folded into the convolutions before them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.errors import WeightsError
from spnas_core.interchange.coco_classes import COCO_CLASSES, UNUSED
from spnas_core.interchange.torchvision import from_torchvision, torchvision_architecture
from spnas_core.networks.layout import stage_placements

BODY, FPN, EXTRA = "backbone.body.", "backbone.fpn.", "extra_blocks."
EPS = 1e-5
"""Of torchvision's batch norms."""

_OLDER = (
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)"), r"\1.0.\2"),
    (re.compile(r"(rpn\.head\.conv)\.(weight|bias)"), r"\1.0.0.\2"),
)
_OLDER_TOWER = re.compile(r"(head\.(?:classification|regression)_head\.conv)\.(\d+)\.(weight|bias)")
_LATERAL = re.compile(r"inner_blocks\.(\d+)\.0\.weight")
_NEWER = (
    ("rpn.head.", "rpn.head.conv.1.", "a proposal head of two convolutions"),
    ("roi_heads.box_head.", "roi_heads.box_head.0.", "a box head of convolutions"),
    ("roi_heads.box_predictor.", "roi_heads.box_head.0.", "what reads that box head"),
    ("head.", "head.classification_head.conv.0.1.", "towers with norms"),
)
"""Parts (by prefix) that have no counterpart where a file has names with another prefix, and why."""


@dataclass(frozen=True)
class TorchvisionDetector:
    """A detector of torchvision in our names.

    Attributes:
        architecture: of its backbone.
        stages: from 0, one per level: which stages its neck reads.
        tensors: named as our detectors'.
        classes: names of the labels 1, 2, …; empty names where the file does not say what they are.
        left_out: parts of the file that have no counterpart, with the reason.
    """

    architecture: Architecture
    stages: tuple[int, ...]
    tensors: dict[str, Tensor]
    classes: tuple[str, ...]
    left_out: tuple[str, ...]


def is_detector(state: Mapping[str, Tensor]) -> bool:
    """Whether a ``state_dict`` is of a detector with FPN, and not of a classifier."""
    return any(name.startswith(BODY) for name in state)


def from_torchvision_detector(state: Mapping[str, Tensor]) -> TorchvisionDetector:
    """Translate the ``state_dict`` of a detector of torchvision with a ResNet and FPN.

    Args:
        state: torchvision's tensors by name, of any version.

    Raises:
        WeightsError: its backbone has no code, or its neck reads no stage of it.
    """
    state = _present_names(state)
    body = {name.removeprefix(BODY): tensor for name, tensor in state.items() if name.startswith(BODY)}
    architecture = torchvision_architecture(body)
    tensors = {f"backbone.{name}": tensor for name, tensor in from_torchvision(architecture, body).items()}
    neck = {name.removeprefix(FPN): tensor for name, tensor in state.items() if name.startswith(FPN)}
    stages = _stages_read(architecture, neck)
    for name, tensor in _folded(neck).items():
        tensors[f"extra.{name.removeprefix(EXTRA)}" if name.startswith(EXTRA) else f"neck.{name}"] = tensor
    newer = [part for part in _NEWER if any(name.startswith(part[1]) for name in state)]
    left_out = [f"{prefix.removesuffix('.')} ({why})" for prefix, _, why in newer]
    foreign = tuple(prefix for prefix, _, _ in newer)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(foreign)}
    known = ("rpn.head.", "roi_heads.box_head.", "roi_heads.box_predictor.", "head.")
    others = {name.rpartition(".")[0] for name in state if not name.startswith((BODY, FPN, *known))}
    left_out += sorted({".".join(name.split(".")[:2]) for name in others})
    tensors |= {name: tensor for name, tensor in state.items() if name.startswith(known)}
    return TorchvisionDetector(architecture, stages, tensors, _classes(state), tuple(left_out))


def without_eps(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whose norms, which add ``EPS`` to the variance, compute what they did without it."""
    return {name: tensor - EPS if name.endswith("running_var") else tensor for name, tensor in tensors.items()}


def _present_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {_present_name(name): tensor for name, tensor in state.items()}


def _present_name(name: str) -> str:
    for pattern, replacement in _OLDER:
        if pattern.fullmatch(name):
            return pattern.sub(replacement, name)
    tower = _OLDER_TOWER.fullmatch(name)  # a convolution and its ReLU had a number each
    return name if tower is None else f"{tower[1]}.{int(tower[2]) // 2}.0.{tower[3]}"


def _stages_read(architecture: Architecture, neck: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Tell by their channels which stages the laterals read; these differ between all stages of a ResNet."""
    channels = [stage.out_channels for stage in stage_placements(architecture)]
    laterals = {int(match[1]): neck[name] for name in neck if (match := _LATERAL.fullmatch(name))}
    found: list[int] = []
    for level, weight in sorted(laterals.items()):
        if weight.dim() != 4 or weight.shape[1] not in channels:
            raise WeightsError(
                f"backbone.fpn.inner_blocks.{level}.0.weight is {tuple(weight.shape)}, and the stages of its "
                f"{architecture} have {channels} channels: it must read one of them"
            )
        found.append(channels.index(weight.shape[1]))
    if not found or sorted(set(found)) != found:
        raise WeightsError(
            f"its neck reads the stages {[stage + 1 for stage in found]} of its {architecture}: it must be an FPN over "
            "ascending stages"
        )
    return tuple(found)


def _folded(neck: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold each norm ``….1`` into the convolution ``….0`` before it."""
    folded = {}
    for name, tensor in neck.items():
        block, _, leaf = name.rpartition(".")
        if block.endswith(".1") and block.count(".") == 2:
            continue
        norm = {part: neck.get(f"{block[:-1]}1.{part}") for part in ("weight", "bias", "running_mean", "running_var")}
        if leaf != "weight" or any(value is None for value in norm.values()):
            folded[name] = tensor
            continue
        gamma, beta, mean, variance = (torch.as_tensor(value) for value in norm.values())
        scale = gamma / (variance + EPS).sqrt()
        folded[name] = tensor * scale[:, None, None, None]
        folded[f"{block}.bias"] = beta + (neck.get(f"{block}.bias", torch.zeros_like(mean)) - mean) * scale
    return folded


def _classes(state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Name the labels: COCO's where there are as many, its background left to whoever has one."""
    if (scores := state.get("roi_heads.box_predictor.cls_score.weight")) is not None:
        return _names(len(scores))[1:]
    logits, deltas = (state.get(f"head.{name}.weight") for name in _RETINANET)
    if logits is None or deltas is None:
        return ()
    return _names(len(logits) // max(1, len(deltas) // 4))


_RETINANET = ("classification_head.cls_logits", "regression_head.bbox_reg")


def _names(count: int) -> tuple[str, ...]:
    known = COCO_CLASSES if count == len(COCO_CLASSES) else ("",) * count
    return tuple("" if name in {UNUSED, COCO_CLASSES[0]} else name for name in known)
