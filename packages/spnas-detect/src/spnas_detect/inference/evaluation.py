"""Scoring a trained detector on a split of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from spnas_core.errors import ConfigError, DataError, suggestion
from spnas_core.plugins import registry
from spnas_detect.data import CachedSplit, DetectionData, StreamedSplit, open_data
from spnas_detect.data._base import SPLITS
from spnas_detect.data.checks import split_faults
from spnas_detect.data.decoding import drop_unreadable
from spnas_detect.data.faults import refuse
from spnas_detect.detectors import read_description
from spnas_detect.detectors.loading import load_detector
from spnas_detect.devices import choose_device
from spnas_detect.folders import explained_writing, make_folder, writing_into
from spnas_detect.inference.matching import match_images
from spnas_detect.inference.memory import explained_memory
from spnas_detect.inference.outputs import refuse_foreign, write_document
from spnas_detect.inference.prediction import BATCH_SIZE, Report
from spnas_detect.inference.report import DESCRIPTION, EvaluationReport, class_results, worst_images
from spnas_detect.inference.sources import WeightsSource, find_weights
from spnas_detect.inference.worst import draw_worst
from spnas_detect.metrics import metric_factory
from spnas_detect.training.loop import score

DOCUMENT = "evaluation.json"
WORST_IMAGES = 8
DEFAULT_METRICS = ("coco",)


def evaluate(
    weights: Path | str,
    data: str | None = None,
    *,
    split: str = "test",
    metrics: Sequence[str] | None = None,
    data_seed: int | None = None,
    data_options: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    worst: int = WORST_IMAGES,
    score_threshold: float = 0.5,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    report: Report | None = None,
) -> EvaluationReport:
    """Score a detector on a split, as ``spnas evaluate`` does.

    Args:
        weights: a weights file, a run for its best candidate, or ``RUN:ID``.
        data: data set as ``KIND`` or ``KIND:PATH``; None takes the run's.
        split: ``train``, ``validation`` or ``test``.
        metrics: names of registered metrics; None takes the run's, or COCO's.
        data_seed: of carved splits and generated images: give the training's, or the test images are others. None takes
            the run's, or 0.
        data_options: of the kind of data; None takes the run's where the data is the run's too.
        out: folder for ``evaluation.json`` and pictures of the worst images; None writes nothing.
        worst: how many images of lowest F1 are listed, and drawn.
        score_threshold: in 0…1, of detections that count as found or false; the metrics see every detection.
        device: ``auto`` is CUDA where there is one.
        batch_size: images per forward pass.
        report: told how far it is.

    Raises:
        WeightsError: the weights are missing, damaged, or do not describe a detector.
        DataError: the data cannot be used, or its classes are not the detector's.
        ConfigError: a setting out of its range, or memory that does not suffice.
        PluginError: an unknown metric.
    """
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score threshold {score_threshold} is no score: it must be in 0…1")
    if batch_size < 1 or worst < 0:
        raise ConfigError(
            f"batch size {batch_size} must be at least 1, and the number of worst images {worst} at least 0"
        )
    if split not in SPLITS:
        raise DataError(f"there is no split {split!r}{suggestion(split, SPLITS)}")
    source = find_weights(weights)
    settings = _run_settings(source)
    names = tuple(metrics if metrics is not None else settings.get("metrics", DEFAULT_METRICS))
    factories = [metric_factory(name) for name in names]
    description = read_description(source.path)
    opened = _open(data, data_seed, data_options, settings)
    check_classes(description.classes, opened.classes, str(source.path), opened.spec)
    opened = drop_unreadable(opened, [split])
    records = opened.splits[split]
    if not any((~record.ignore).any() for record in records):
        raise DataError(f"the {split} split of {opened.spec} has no box to be found among its {len(records)} images")
    refuse(opened.spec, split_faults(opened, split))
    folder = None if out is None else Path(out)
    if folder is not None:
        with explained_writing(folder):
            refuse_foreign([folder / DOCUMENT], DESCRIPTION)
    where = choose_device(device)
    detector, description = load_detector(source.path, where)
    if folder is not None:
        make_folder(folder)  # before what may take hours
    images = StreamedSplit(
        records, description.image_size, description.orientation, is_reduced=description.reduced_decoding
    )
    recorder = _Recorder(len(records), report)
    with explained_memory(batch_size, description.image_size, where):
        scores = score(
            detector,
            cast("CachedSplit", images),  # reads alike
            [*(factory.build(opened.classes) for factory in factories), recorder],
            batch_size=batch_size,
            device=where,
        )
    main = tuple(spec.name for factory in factories for spec in factory.specs)
    matches = match_images(recorder.predictions, recorder.targets, len(opened.classes), score_threshold)
    result = EvaluationReport(
        source.path,
        description,
        opened.spec,
        split,
        len(records),
        score_threshold,
        scores,
        main,
        tuple(class_results(matches, opened.classes, scores, main)),
        tuple(worst_images(matches, images.names, worst)),
        opened.remarks,
    )
    if folder is None:
        return result
    with writing_into(folder):
        result = replace(result, worst=draw_worst(result, records, matches, folder))
        write_document(folder / DOCUMENT, result.as_dict())
    return result


def check_classes(own: Sequence[str], others: Sequence[str], weights: str, data: str) -> None:
    """See to it that labels mean the same to a detector and to a data set.

    Raises:
        DataError: names the classes that one of them lacks, or the first that stands in another place.
    """
    if tuple(own) == tuple(others):
        return
    parts = []
    if missing := [name for name in own if name not in others]:
        parts.append(f"the data lacks {', '.join(map(repr, missing))}")
    if unknown := [name for name in others if name not in own]:
        parts.append(f"the weights lack {', '.join(map(repr, unknown))}")
    if not parts:
        place = next(i for i, (one, other) in enumerate(zip(own, others, strict=True)) if one != other)
        parts.append(f"class {place + 1} is {own[place]!r} to the weights and {others[place]!r} to the data")
    raise DataError(
        f"{weights} was trained on other classes than {data} has: {'; '.join(parts)}; "
        "evaluate on data with the same classes in the same order"
    )


@dataclass
class _Recorder:
    """A metric that scores nothing and keeps everything."""

    total: int
    report: Report | None

    def reset(self) -> None:
        """Forget all images."""
        self.predictions: list[Mapping[str, Tensor]] = []
        self.targets: list[Mapping[str, Tensor]] = []

    def process(self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> None:
        """Take in a batch of images."""
        self.predictions += predictions
        self.targets += targets
        if self.report is not None:
            self.report(len(self.targets), self.total)

    def evaluate(self) -> dict[str, float]:
        """Score nothing."""
        return {}


def _run_settings(source: WeightsSource) -> Mapping[str, Any]:
    """Return the ``[task]`` table of the run that the weights come from, if it trained detectors."""
    settings = source.candidate.settings if source.candidate is not None else {}
    return settings if settings.get("name") == "detection" else {}


def _open(
    data: str | None, seed: int | None, options: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> DetectionData:
    own = settings.get("data")
    spec = own if data is None else data
    if spec is None:
        raise ConfigError("a weights file does not say which data to score on: name it with --data")
    if options is None:
        options = settings.get("data_options", {}) if spec == own else {}
    seed = settings.get("data_seed", 0) if seed is None else seed
    return open_data(spec, seed=seed, readers=registry("datasets").items, **options)
