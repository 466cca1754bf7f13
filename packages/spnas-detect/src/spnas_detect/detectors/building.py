"""From a rewrite and the parent's weights to a detector that inherits them."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.inheritance import (
    InheritancePlan,
    Receipt,
    TensorCopy,
    TensorFill,
    fill_module,
    plan_inheritance,
    write_receipt,
)
from spnas_core.inheritance.plan import Shapes, tensor_shapes
from spnas_core.morphisms import Rewrite
from spnas_core.networks import SerialBackbone
from spnas_detect.detectors._base import Detector, detector_factory
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.necks import neck_factory

BACKBONE, NECK = "backbone.", "neck."


def build_detector(
    rewrite: Rewrite,
    classes: int,
    settings: DetectorSettings,
    parent_tensors: Mapping[str, Tensor],
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> tuple[nn.Module, InheritancePlan, Receipt]:
    """Build the detector of a child architecture.

    Backbone tensors inherit through the block map, a neck's laterals follow their features, everything else inherits
    by name. Where shapes differ the overlapping part is copied; a neck of another kind than the parent's starts anew.

    Args:
        rewrite: parent, child and block map.
        classes: number of classes, background not counted.
        settings: of neck and heads.
        parent_tensors: the parent detector's tensors by name; what is missing starts anew.
        generator: source of first values.
        device: where the weights shall live.

    Returns:
        The detector (it fulfils ``Detector``), the plan that was executed, and the receipt.
    """
    backbone = SerialBackbone(rewrite.child)
    with torch.device("meta"):
        neck = neck_factory(settings.neck)(backbone.feature_info, settings.neck_channels, settings.neck_repeats)
        module = detector_factory(settings.detector)(backbone, neck, classes, settings)
    parent_shapes = {name: tensor.shape for name, tensor in parent_tensors.items()}
    plan = plan_detector(rewrite, cast("Detector", module), tensor_shapes(module), parent_shapes)
    fill_module(module, plan, parent_tensors, generator=generator, device=device)
    return module, plan, write_receipt(module, plan)


def plan_detector(rewrite: Rewrite, detector: Detector, child_shapes: Shapes, parent_shapes: Shapes) -> InheritancePlan:
    """Plan the inheritance of a whole detector."""
    backbone_plan = plan_inheritance(rewrite, _under(BACKBONE, child_shapes), _under(BACKBONE, parent_shapes)).prefixed(
        BACKBONE
    )
    copies: list[TensorCopy] = []
    fills: list[TensorFill] = []
    for name, shape in child_shapes.items():
        if name.startswith(BACKBONE):
            continue
        if name.startswith(NECK):
            inner = name.removeprefix(NECK)
            sources = [NECK + source for source in detector.neck.source_names(inner, rewrite)]
            init = detector.neck.initial(inner)
        else:
            sources, init = [name], detector.initial(name, shape)
        copy = _best_copy(name, shape, sources, parent_shapes)
        if copy is not None:
            copies.append(copy)
        if copy is None or copy.overlap:
            fills.append(TensorFill(name, init))
    used = {copy.source for copy in copies}
    dropped = tuple(name for name in parent_shapes if not name.startswith(BACKBONE) and name not in used)
    return backbone_plan + InheritancePlan(tuple(copies), tuple(fills), dropped)


def _under(prefix: str, shapes: Shapes) -> dict[str, torch.Size]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _best_copy(name: str, shape: torch.Size, sources: list[str], parent_shapes: Shapes) -> TensorCopy | None:
    """The first source of the same shape, else the first of the same rank."""
    existing = [source for source in sources if source in parent_shapes]
    for source in existing:
        if parent_shapes[source] == shape:
            return TensorCopy(name, source)
    for source in existing:
        if len(parent_shapes[source]) == len(shape):
            return TensorCopy(name, source, overlap=True)
    return None
