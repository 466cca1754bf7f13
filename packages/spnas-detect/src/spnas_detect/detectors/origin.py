"""What weights say of the detector that they are of, and whether that is one which a child can continue."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

from safetensors import SafetensorError, safe_open
from torch import Tensor

from spnas_core.backbones import AnyNetwork, read_network
from spnas_core.errors import MALFORMED, WeightsError
from spnas_detect.detectors.classes import ClassMap, match_classes
from spnas_detect.detectors.description import METADATA_KEY, SHARED_KEY
from spnas_detect.detectors.levels import known_neck_stages
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.extra_levels import COUNTS

Plain = TypeVar("Plain")


@dataclass(frozen=True)
class Origin:
    """What is known of a parent beside its tensors.

    Attributes:
        classes: names of its labels 1, 2, …, empty for one without a name; None where nothing says.
        stages: stages, from 0, that its neck reads; None for those that the child's settings name.
        source: file of another library that it comes from, as the user named it; empty for our own.
        left_out: parts of that file that have no counterpart here.
        is_shared: whether parts of its architecture share its weights, so that norms have the statistics of none.
    """

    classes: tuple[str, ...] | None = None
    stages: tuple[int, ...] | None = None
    source: str = ""
    left_out: tuple[str, ...] = ()
    is_shared: bool = False

    def class_map(self, classes: Sequence[str]) -> ClassMap | None:
        """Which of its classes a child's are; None where they are the same, and where nothing says."""
        return match_classes(self.classes, classes) if self.classes else None

    def notes(self, classes: Sequence[str] = ()) -> tuple[str, ...]:
        """Tell a user which classes are inherited by name and which parts have no counterpart."""
        notes = []
        found = self.class_map(classes)
        if classes and found is not None:
            new = [name for name, source in zip(classes, found.sources, strict=True) if source is None]
            known = f"{len(classes) - len(new)} of {len(classes)} classes are inherited by their names"
            notes.append(known + (f"; new: {', '.join(new)}" if new else ""))
        if self.left_out:
            notes.append(f"without counterpart here, and left out: {', '.join(self.left_out)}")
        return tuple(notes)

    def check(self, tensors: Mapping[str, Tensor], settings: DetectorSettings, prefix: str = "") -> None:
        """Refuse a detector of another library whose parts have other sizes than the child's.

        What the child does not have (another kind of detector or neck, no extra levels) is left aside. Detectors of our
        own continue with other sizes, by the part which fits.

        Args:
            tensors: the parent's by name.
            settings: of the child.
            prefix: what stands before ``detector.`` where the settings are told of.

        Raises:
            WeightsError: the settings that differ, and how to mend them.
        """
        if not self.source:
            return
        wanted = {name: value for name, value in implied_settings(tensors).items() if _concerns(name, settings)}
        differing = {name: value for name, value in wanted.items() if getattr(settings, name) != value}
        if differing:
            has = " and ".join(f"{name} = {value}" for name, value in differing.items())
            given = " and ".join(f"{prefix}detector.{name} is {getattr(settings, name)}" for name in differing)
            mending = " ".join(f"--set {prefix}detector.{name}={value}" for name, value in differing.items())
            raise WeightsError(
                f"{self.source} is of a detector with {has}, and {given}: {mending}, or take its backbone alone, as "
                f"{self.source.replace('torchvision:', 'torchvision-backbone:', 1)}"
            )


def origin_of(said: Mapping[str, Any], architecture: AnyNetwork) -> Origin:
    """Read what a weights file says of itself beside its architecture; nonsense says nothing.

    Args:
        said: plain values: a description as ``DetectorDescription`` writes it, or that of another library's detector
            (see ``InitialWeights``).
        architecture: that the file is of.
    """
    classes, stages = said.get("classes"), said.get("stages")
    detector = said.get("detector")
    if stages is None and isinstance(detector, Mapping):
        levels = detector.get("levels")
        extra = detector.get("extra_levels")
        extra = extra if isinstance(extra, str) and extra in COUNTS else None
        stages = known_neck_stages(levels, extra, architecture) if levels is None or _are_levels(levels) else None
    left_out = said.get("left_out", ())
    return Origin(
        tuple(classes) if _is_list_of(classes, str) else None,
        tuple(stages) if _is_list_of(stages, int) else None,
        str(said.get("source", "")),
        tuple(left_out) if _is_list_of(left_out, str) else (),
        bool(said.get(SHARED_KEY, False)),
    )


def read_origin(path: Path) -> Origin:
    """Read what a weights file says of itself; a file that says nothing, or nonsense, is of no known origin."""
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        return origin_of(said, read_network(str(said["architecture"])))
    except (SafetensorError, OSError, *MALFORMED):
        return Origin()


def implied_settings(tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """Tell from the tensors of a detector with FPN which settings it has been built with, as far as they show."""
    found: dict[str, object] = {}
    neck, box_head = tensors.get("neck.layer_blocks.0.0.weight"), tensors.get("roi_heads.box_head.fc6.weight")
    if neck is not None:
        found["neck_channels"] = len(neck)
    if box_head is not None and neck is not None:
        found["head_channels"] = len(box_head)
        found["pooled_size"] = math.isqrt(box_head.shape[1] // len(neck))
    towers = [name for name in tensors if name.startswith("head.classification_head.conv.") and name.endswith("weight")]
    if towers:
        found["tower_depth"] = len(towers)
    if (extra := tensors.get("extra.p6.weight")) is not None and neck is not None:
        found["extra_levels"] = "conv" if extra.shape[1] == len(neck) else "stage-conv"
    return found


def _concerns(name: str, settings: DetectorSettings) -> bool:
    """Whether the child has the part that a setting is of."""
    if settings.neck != "fpn":
        return False
    return {
        "head_channels": settings.detector == "faster-rcnn",
        "pooled_size": settings.detector == "faster-rcnn",
        "tower_depth": settings.detector == "retinanet",
        "extra_levels": settings.extra_levels in {"conv", "stage-conv"},
    }.get(name, True)


def _is_list_of(value: object, kind: type[Plain]) -> TypeGuard[Sequence[Plain]]:
    return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)


def _are_levels(value: object) -> bool:
    try:
        return bool(DetectorSettings.model_validate({"levels": value}))
    except ValueError:
        return False
