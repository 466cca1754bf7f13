"""What a trained detector's file says of itself, so that it can be built again from the file alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from spnas_core.backbones import read_network
from spnas_core.errors import SpnasError, WeightsError
from spnas_detect.data.canvases import Orientation
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.detectors.training_data import KEY, TrainedOn

METADATA_KEY = "spnas"
"""Entry of a safetensors file's metadata that holds the description, as JSON."""

SHARED_KEY = "is_shared"
_REQUIRED = ("architecture", "classes", "detector", "image_size")


@dataclass(frozen=True)
class DetectorDescription:
    """Everything about a trained detector that its tensors do not say.

    Attributes:
        architecture: code of its backbone, or ``PROVIDER:NAME``.
        classes: names of the labels 1…C.
        detector: its neck and heads.
        image_size: (width, height) in pixels of the canvas that it was trained on.
        norm: what stands in for batch norm: ``batch``, ``sync``, ``group`` or ``frozen``.
        orientation: whether images of the other orientation had the transposed canvas: ``fixed`` or ``either``.
        reduced_decoding: whether JPEGs were decoded at a part of their size, where that was enough.
        trained_on: the training that made the weights; None for files from before they remembered it.
        is_shared: whether parts of the architecture share the weights: then there are tensors, too, that it lacks.
    """

    architecture: str
    classes: tuple[str, ...]
    detector: DetectorSettings
    image_size: tuple[int, int]
    norm: str = "batch"
    orientation: Orientation = "fixed"
    reduced_decoding: bool = False
    trained_on: TrainedOn | None = None
    is_shared: bool = False

    def metadata(self) -> dict[str, object]:
        """Return the description as plain values; ``from_metadata`` is the inverse."""
        return {
            "architecture": self.architecture,
            "classes": list(self.classes),
            "detector": self.detector.model_dump(mode="json"),
            "image_size": list(self.image_size),
            "norm": self.norm,
            "orientation": self.orientation,
            "reduced_decoding": self.reduced_decoding,
            **({} if self.trained_on is None else {KEY: self.trained_on.metadata()}),
            **({SHARED_KEY: True} if self.is_shared else {}),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], source: str) -> "DetectorDescription":
        """Read and check plain values; what is in them besides is left alone.

        Args:
            metadata: as ``metadata`` writes it; ``norm`` and what stands behind it may be missing.
            source: what messages call the file.

        Raises:
            WeightsError: something is missing or makes no sense.
        """
        missing = [name for name in _REQUIRED if name not in metadata]
        if missing:
            raise WeightsError(
                f"{source} does not say {', '.join(missing)} of its detector: take a file that a search or spnas train "
                "of this version has written"
            )
        architecture, classes, size = (metadata[name] for name in ("architecture", "classes", "image_size"))
        norm, orientation = metadata.get("norm", "batch"), metadata.get("orientation", "fixed")
        try:
            read_network(str(architecture))
            detector = DetectorSettings.model_validate(metadata["detector"])
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("detector", *first["loc"])))
            raise WeightsError(
                f"{source} describes a detector that this version does not know: {place} is {first['input']!r}, "
                f"{first['msg'][0].lower()}{first['msg'][1:]}"
            ) from None
        except SpnasError as error:
            raise WeightsError(f"{source} is of an architecture that cannot be built here: {error}") from None
        if not _is_list(classes, str) or not classes or len(set(classes)) != len(classes):
            raise WeightsError(
                f"{source} says that its classes are {classes!r}: they must be a list of different names"
            )
        if not _is_list(size, int) or len(size) != 2 or min(size) < 1:
            raise WeightsError(f"{source} says that its image_size is {size!r}: it must be width and height in pixels")
        if not isinstance(norm, str):
            raise WeightsError(f"{source} says that its norm is {norm!r}: it must be a name")
        if orientation not in get_args(Orientation):
            raise WeightsError(f"{source} says that its orientation is {orientation!r}: it must be 'fixed' or 'either'")
        reduced = bool(metadata.get("reduced_decoding", False))
        trained_on = TrainedOn.from_metadata(metadata[KEY], source) if KEY in metadata else None
        return cls(
            str(architecture),
            tuple(classes),
            detector,
            (size[0], size[1]),
            norm,
            orientation,
            reduced,
            trained_on,
            bool(metadata.get(SHARED_KEY, False)),
        )


def read_description(path: Path) -> DetectorDescription:
    """Read what a weights file says of itself, without its tensors.

    Raises:
        WeightsError: the file is missing, is no safetensors file, or does not describe a detector.
    """
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, and neither a weights file nor a run")
    if not path.exists():
        raise WeightsError(f"weights file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is no complete safetensors file ({error}): name a file that a search or spnas train has written"
        ) from None
    if text is None:
        raise WeightsError(
            f"{path} holds tensors of which it says nothing ({METADATA_KEY!r} is missing in its metadata): "
            "name a file that a search or spnas train has written"
        )
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that is no JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise WeightsError(f"{path} has {METADATA_KEY!r} metadata that is no JSON object")
    return DetectorDescription.from_metadata(metadata, str(path))


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, kind) for item in value)
