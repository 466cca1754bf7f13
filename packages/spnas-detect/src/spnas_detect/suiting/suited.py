"""Completing a ``[task]`` table: what the user has set stays, the rest follows from the data and from the start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spnas_core.backbones import AnyNetwork, blank_network
from spnas_core.configuration import validate
from spnas_core.errors import SpnasError
from spnas_core.tasks import Suited
from spnas_detect.data import ImageRecord
from spnas_detect.data.survey import suggest
from spnas_detect.detectors.description import read_description
from spnas_detect.detectors.levels import read_stages, stage_names
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.heads.extra_levels import with_extra
from spnas_detect.opening import opened
from spnas_detect.settings import DetectionSettings
from spnas_detect.suiting.canvas import suitable_canvas
from spnas_detect.suiting.heads import head_sizes, sample_numbers
from spnas_detect.training.settings import TrainingSettings

DEMONSTRATION = "shapes"
"""The data that the models' defaults are made for."""

ANCHORS = ("anchor_scales", "anchor_sizes", "aspect_ratios")
SIZES = ("neck_channels", "head_channels", "pooled_size", "sampling_ratio")
NUMBERS = ("rpn_proposals", "rpn_samples", "box_samples", "score_threshold", "max_detections")
BOX_HEAD = frozenset({"head_channels", "pooled_size", "sampling_ratio", "rpn_proposals", "rpn_samples", "box_samples"})
"""What a detector of one stage does not have."""


@dataclass
class _Choices:
    """What was chosen so far.

    Attributes:
        prefix: of the keys in remarks.
        task: keys of the table itself.
        detector: keys of its ``detector`` table.
        remarks: one per reason.
    """

    prefix: str
    task: dict[str, Any] = field(default_factory=dict)
    detector: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def choose(self, chosen: Mapping[str, Any], why: str) -> None:
        """Take settings of the detector, and say why."""
        if chosen:
            self.detector.update(chosen)
            self._say({f"detector.{name}": value for name, value in chosen.items()}, why)

    def choose_canvas(self, size: tuple[int, int], why: str) -> None:
        """Take a canvas, and say why."""
        self.task["image_size"] = list(size)
        self._say({"image_size": list(size)}, why)

    def _say(self, chosen: Mapping[str, Any], why: str) -> None:
        said = ", ".join(f"{self.prefix}{name} = {value}" for name, value in chosen.items())
        self.remarks.append(f"chosen: {said}: {why}")


def suited(values: Mapping[str, Any], start: AnyNetwork, init: str | None, prefix: str = "") -> Suited:
    """Complete the table of a detection task, so that no photographs get the demonstration's canvas and heads.

    Generated ``shapes`` keep the models' defaults, which are made for them. For other data the canvas, the anchors, the
    sizes of neck and heads and the numbers of boxes are chosen, each only where ``values`` does not have it: canvas and
    anchors by the training images' annotations, sizes by the channels of ``start`` (or as the detector has them whose
    weights it begins with), numbers by both.

    Args:
        values: the table, plain.
        start: architecture that is trained first.
        init: weights that it begins with, as the settings name them; None for fresh ones.
        prefix: what stands before the table's keys where they are told of, such as ``task.``.

    Returns:
        The table, and a remark per choice; another where torchvision's weights would be trained at the demonstration's
        learning rate.

    Raises:
        ConfigError: a wrong setting, or levels that the start lacks.
        DataError: the data cannot be read.
    """
    settings = validate(DetectionSettings, values, prefix)
    warnings = _warnings(settings.training, init, prefix)
    given = frozenset(values.get("detector", {}))
    choices = _Choices(prefix)
    if not is_generated(settings.data) and _is_open(given, values):
        _choose(choices, settings, given, values, start, init)
    if choices.detector:
        choices.task["detector"] = {**values.get("detector", {}), **choices.detector}
    return Suited({**values, **choices.task}, (*choices.remarks, *warnings))


def for_other_data(values: Mapping[str, Any], data: object) -> dict[str, Any]:
    """Leave out of a run's settings what its data decides, where that was generated and other data takes its place.

    Sizes of neck and heads stay, since its weights have them.

    Args:
        values: a task's table, complete.
        data: the other data; None for the same.
    """
    before = values.get("data")
    if not isinstance(data, str) or before is None or not is_generated(before) or is_generated(data):
        return dict(values)
    detector = {name: value for name, value in values.get("detector", {}).items() if name not in (*ANCHORS, *NUMBERS)}
    rest = {name: value for name, value in values.items() if name not in {"image_size", "data_options"}}
    return {**rest, "detector": detector}


def is_generated(data: str) -> bool:
    """Whether a data set is the one that the models' defaults are made for."""
    return data.partition(":")[0] == DEMONSTRATION


def _is_open(given: frozenset[str], values: Mapping[str, Any]) -> bool:
    """Whether there is anything left to choose, so that the data need not be read for nothing."""
    return "image_size" not in values or given.isdisjoint(ANCHORS) or not given.issuperset((*SIZES, *NUMBERS))


def _choose(
    choices: _Choices,
    settings: DetectionSettings,
    given: frozenset[str],
    values: Mapping[str, Any],
    start: AnyNetwork,
    init: str | None,
) -> None:
    stages = stage_names(read_stages(settings.detector.levels, start))
    info = blank_network(start, stages).feature_info
    if settings.detector.detector == "retinanet":
        given |= BOX_HEAD
    records = _training_images(settings)
    _choose_sizes(choices, given, max(info.channels()), start, init)
    _choose_numbers(choices, given, settings.detector, records)
    canvas = suitable_canvas(records)
    if canvas is None:
        return
    size = settings.image_size
    if "image_size" not in values:
        size = canvas.size
        choices.choose_canvas(
            size,
            f"nine of ten boxes of each class have sides of {canvas.least:.0f} pixels or more on it, and the images "
            f"have {canvas.median[0]}x{canvas.median[1]}",
        )
    if given.isdisjoint(ANCHORS):
        strides = with_extra(info, settings.detector.extra_levels).nominal_strides()
        _choose_anchors(choices, settings, records, size, strides)


def _training_images(settings: DetectionSettings) -> Sequence[ImageRecord]:
    return tuple(opened(settings).splits["train"])


def _choose_sizes(choices: _Choices, given: frozenset[str], channels: int, start: AnyNetwork, init: str | None) -> None:
    known = _sizes_of(init)
    chosen, why = known or head_sizes(channels), f"{start} has {channels} channels in its widest stage"
    if known:
        why = f"as the detector of {init}"
    choices.choose({name: value for name, value in chosen.items() if name not in given}, why)


def _sizes_of(init: str | None) -> dict[str, Any] | None:
    """Sizes of the detector whose weights a start inherits; None where these are of no detector of ours."""
    if init is None or not init.endswith(".safetensors"):
        return None
    try:
        detector = read_description(Path(init)).detector
    except SpnasError:  # a backbone alone, or a file that will be refused for its own reasons
        return None
    return {name: getattr(detector, name) for name in SIZES}


def _choose_numbers(
    choices: _Choices, given: frozenset[str], detector: DetectorSettings, records: Sequence[ImageRecord]
) -> None:
    objects = [int((~record.ignore).sum()) for record in records]
    neck = choices.detector.get("neck_channels", detector.neck_channels)
    chosen = sample_numbers(neck, objects)
    ordered = sorted(objects)
    choices.choose(
        {name: value for name, value in chosen.items() if name not in given},
        f"a neck of {neck} channels, {ordered[int(0.9 * (len(ordered) - 1))]} objects or fewer in nine of ten images, "
        f"{ordered[-1]} in the fullest",
    )


def _choose_anchors(
    choices: _Choices,
    settings: DetectionSettings,
    records: Sequence[ImageRecord],
    size: tuple[int, int],
    strides: Sequence[int],
) -> None:
    scales, ratios = settings.detector.anchor_scales, settings.detector.aspect_ratios
    advice = suggest(records, scales, ratios, size, strides, settings.orientation)
    if advice is None:
        return
    best, before = advice["suggested"], advice["default"]
    choices.choose(
        {name: best[name] for name in ("anchor_scales", "aspect_ratios")},
        f"the best of them has an IoU of {best['iou']:.2f} with a box on average, of the demonstration's anchors "
        f"{before['iou']:.2f}",
    )


def _warnings(training: TrainingSettings, init: str | None, prefix: str) -> tuple[str, ...]:
    """Say where weights of ImageNet or COCO would be trained as the demonstration's network is."""
    default = TrainingSettings()
    is_default = (training.optimizer, training.finetune_learning_rate) == (
        default.optimizer,
        default.finetune_learning_rate,
    )
    if init is None or not init.startswith(("torchvision:", "torchvision-backbone:")) or not is_default:
        return ()
    warning = (
        f"warning: {init} begins with {prefix}training.finetune_learning_rate = {training.finetune_learning_rate:g} of "
        f"{training.optimizer}, the demonstration's, which is high for such weights: set it lower, such as 1e-4, or "
        "name a recipe, such as --preset r50-1x"
    )
    return (warning,)
