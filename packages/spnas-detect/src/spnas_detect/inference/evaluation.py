"""Scoring a trained detector on a split of a data set."""

import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from spnas_core.errors import ConfigError, DataError, suggestion
from spnas_detect.data import CachedSplit, DetectionData, ImageRecord, StreamedSplit
from spnas_detect.data._base import ALL, CARVED_NOTE, SPLITS, split_title
from spnas_detect.data.checks import split_faults
from spnas_detect.data.decoding import drop_unreadable
from spnas_detect.data.faults import refuse
from spnas_detect.data.overlaps import image_file
from spnas_detect.detectors import DetectorDescription, read_description
from spnas_detect.detectors.loading import load_detector
from spnas_detect.devices import check_devices, choose_device
from spnas_detect.folders import explained_writing, make_folder, writing_into
from spnas_detect.inference.classes import labelled_as
from spnas_detect.inference.coco_results import prepare_results, write_results
from spnas_detect.inference.confusion import confusion
from spnas_detect.inference.matching import match_images
from spnas_detect.inference.memory import explained_memory
from spnas_detect.inference.outputs import refuse_foreign, write_document
from spnas_detect.inference.plots import prepare_plots, write_plots
from spnas_detect.inference.prediction import BATCH_SIZE, Report
from spnas_detect.inference.report import DESCRIPTION, EvaluationReport, class_results, worst_images
from spnas_detect.inference.sources import WeightsSource, find_weights
from spnas_detect.inference.worst import draw_worst
from spnas_detect.metrics import CocoMetric, metric_factory
from spnas_detect.metrics.collection import Collection
from spnas_detect.metrics.registry import check_metrics
from spnas_detect.opening import open_known
from spnas_detect.processes import ALONE, Processes, joined_processes, launch
from spnas_detect.settings import absolute_source
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
    curves: Path | str | None = None,
    detections: Path | str | None = None,
    worst: int = WORST_IMAGES,
    score_threshold: float = 0.5,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    devices: int = 1,
    report: Report | None = None,
) -> EvaluationReport:
    """Score a detector on a split, as ``spnas evaluate`` does.

    Classes of the data are the detector's where their names are, in whatever order; one that the data lacks has no
    score.

    Args:
        weights: a weights file, the folder of a training, a run for its best candidate, or ``RUN:ID``.
        data: data set as ``KIND`` or ``KIND:PATH``; None takes the one that was trained on, and so does its own name,
            however its path is written.
        split: ``train``, ``validation`` or ``test``, or ``all`` for every image of the data.
        metrics: names of registered metrics; None takes the training's, or COCO's.
        data_seed: of carved splits and generated images: another one than the training's has other test images. None
            takes the training's, or 0.
        data_options: of the kind of data; None takes the training's where its data is taken.
        out: folder for ``evaluation.json`` and pictures of the worst images; None writes nothing.
        curves: folder for precision against recall and the confusion matrix, as plots and as CSV; None writes none.
        detections: file for all detections as COCO's results; see ``write_results``. None writes none.
        worst: how many images of lowest F1 are listed, and drawn.
        score_threshold: in 0…1, of detections that count as found or false; the metrics see every detection.
        device: ``auto`` is CUDA where there is one.
        batch_size: images per forward pass.
        devices: processes that detect together, each on a GPU of its own where there are GPUs; the numbers are those of
            one.
        report: told how far it is.

    Raises:
        WeightsError: the weights are missing, damaged, or do not describe a detector.
        DataError: the data cannot be used, or the split has boxes of classes that the detector does not know.
        ConfigError: a setting out of its range, or memory that does not suffice.
        PluginError: an unknown metric.
        EvaluationError: one of several processes has died.
    """
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score threshold {score_threshold} is no score: it must be in 0…1")
    if batch_size < 1 or worst < 0:
        raise ConfigError(
            f"batch size {batch_size} must be at least 1, and the number of worst images {worst} at least 0"
        )
    if devices < 1:
        raise ConfigError(f"devices is {devices}: it must be at least 1")
    if split not in (*SPLITS, ALL):
        raise DataError(f"there is no split {split!r}{suggestion(split, (*SPLITS, ALL))}")
    source = find_weights(weights)
    job = _Job(
        source,
        None if data is None else absolute_source(data),
        split,
        metrics,
        data_seed,
        data_options,
        out,
        curves,
        detections,
        worst,
        score_threshold,
        device,
        batch_size,
    )
    if devices == 1:
        return cast("EvaluationReport", _evaluate(job, report, ALONE))
    check_devices(devices, choose_device(device))
    with tempfile.TemporaryDirectory(prefix="spnas-") as place:
        file = Path(place) / "report"
        launch(_take_part, (job, report, file), devices, consequence="lower --batch-size if memory was short")
        if not file.exists():  # ended by a signal
            raise KeyboardInterrupt
        return cast("EvaluationReport", pickle.loads(file.read_bytes()))  # noqa: S301 - our own


@dataclass(frozen=True)
class _Job:
    """The arguments of ``evaluate``, as several processes share them."""

    source: WeightsSource
    data: str | None
    split: str
    metrics: Sequence[str] | None
    data_seed: int | None
    data_options: Mapping[str, Any] | None
    out: Path | str | None
    curves: Path | str | None
    detections: Path | str | None
    worst: int
    score_threshold: float
    device: str
    batch_size: int


def _take_part(job: _Job, report: Report | None, file: Path) -> None:
    """Evaluate in one of several processes; the first one leaves the report."""
    device = choose_device(job.device)
    with joined_processes(device.type) as processes:
        if device.type == "cuda":
            job = replace(job, device=f"cuda:{processes.local_rank}")
        result = _evaluate(job, report if processes.is_first else None, processes)
        if result is not None:
            file.write_bytes(pickle.dumps(result))


def _evaluate(job: _Job, report: Report | None, processes: Processes) -> EvaluationReport | None:
    """Evaluate, and write the files; the report is the first process's."""
    source, split = job.source, job.split
    description = read_description(source.path)
    settings = source.settings or _remembered(description)
    if job.metrics is not None and not job.metrics:
        raise ConfigError("metrics names none: name one or more, such as coco,voc")
    names = tuple(job.metrics if job.metrics is not None else settings.get("metrics") or DEFAULT_METRICS)
    factories = [metric_factory(name) for name in names]
    opened = _open(job.data, job.data_seed, job.data_options, settings)
    title = split_title(split, tests_on_validation=opened.tests_on_validation)
    is_own = job.data in {None, settings.get("data")}
    hints = [] if is_own else [*_hints(opened, split), *_left_out(job.data, job.data_options, settings)]
    if split == ALL:
        opened, split = _in_one(opened), "test"
    opened = labelled_as(description.classes, opened, split, str(source.path))
    check_metrics(names, opened)
    opened = drop_unreadable(opened, [split])
    records = opened.splits[split]
    if not any((~record.ignore).any() for record in records):
        raise DataError(f"the {split} split of {opened.spec} has no box to be found among its {len(records)} images")
    refuse(opened.spec, split_faults(opened, split))
    folder, plots, results = (None if path is None else Path(path) for path in (job.out, job.curves, job.detections))
    if processes.is_first:
        _prepare(folder, plots, results)  # before what may take hours
    where = choose_device(job.device)
    detector, description = load_detector(source.path, where)
    images = StreamedSplit(
        records, description.image_size, description.orientation, is_reduced=description.reduced_decoding
    )
    recorder = _Recorder()
    with explained_memory(job.batch_size, description.image_size, where):
        scores = score(
            detector,
            cast("CachedSplit", images),  # reads alike
            [*(factory.build(opened.classes) for factory in factories), recorder],
            batch_size=job.batch_size,
            device=where,
            precision=source.precision(description),
            processes=processes,
            tell=report or (lambda *_: None),
        )
    seen = processes.collect(_seen(images, description))
    if not processes.is_first:
        return None
    main = tuple(spec.name for factory in factories for spec in factory.specs)
    matches = match_images(recorder.predictions, recorder.targets, len(opened.classes), job.score_threshold)
    result = EvaluationReport(
        source.path,
        description,
        opened.spec,
        title,
        len(records),
        job.score_threshold,
        scores,
        main,
        tuple(class_results(matches, opened.classes, scores, main)),
        tuple(worst_images(matches, images.names, job.worst)),
        (*opened.remarks, *_alterations(records, title)),
        (*_warnings(sum(seen), len(records), title), *hints),
        None if plots is None else confusion(matches, opened.classes),
    )
    if plots is not None and result.confusion is not None:
        coco = CocoMetric(opened.classes)
        coco.process(recorder.predictions, recorder.targets)
        remarks = write_plots(plots, coco.precision_recall(), result.confusion, job.score_threshold)
        result = replace(result, warnings=(*result.warnings, *remarks))
    if results is not None:
        found = Collection(len(opened.classes))
        found.add(recorder.predictions, recorder.targets)
        result = replace(result, detections=tuple(write_results(results, found, records, opened.classes)))
    if folder is not None:
        with writing_into(folder):
            result = replace(result, worst=draw_worst(result, records, matches, folder))
            write_document(folder / DOCUMENT, result.as_dict())
    return result


def _in_one(data: DetectionData) -> DetectionData:
    """Make every image a test image."""
    parts = data.once().splits
    notes = tuple(note for note in data.notes if CARVED_NOTE not in note)
    every = [record for split in SPLITS for record in parts[split]]
    records = list({image_file(record) or id(record): record for record in reversed(every)}.values())[::-1]
    if again := len(every) - len(records):
        notes = (*notes, f"{again} images are in several splits, and are scored once, as the first of them has them")
    return replace(data, splits={**dict.fromkeys(SPLITS, ()), "test": records}, notes=notes, tests_on_validation=False)


def _hints(data: DetectionData, split: str) -> Iterator[str]:
    """Say so where other data than the training's has no test split, so that only a part of it is scored."""
    if split == "test" and any(note.startswith(f"test {CARVED_NOTE}") for note in data.notes):
        count, whole = len(data.splits["test"]), len(_in_one(data).splits["test"])
        yield (
            f"the data has no test split of its own, so {count} of its {whole} images were drawn for one: --split all "
            "scores them all"
        )


def _left_out(data: str | None, options: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> Iterator[str]:
    """Say so where other data of the training's kind is read without the options that the training's had."""
    kinds = {str(spec).partition(":")[0] for spec in (data, settings.get("data"))}
    if options is None and len(kinds) == 1 and (trained := settings.get("data_options")):
        which = ", ".join(f"{key}={value}" for key, value in trained.items())
        yield f"the options of the training's data ({which}) are not taken for other data: name those that hold for it"


def _prepare(folder: Path | None, plots: Path | None, results: Path | None) -> None:
    """Make the folders that results go to, and see to it that nothing foreign is overwritten there."""
    if folder is not None:
        with explained_writing(folder):
            refuse_foreign([folder / DOCUMENT], DESCRIPTION)
        make_folder(folder)
    if plots is not None:
        prepare_plots(plots)
    if results is not None:
        prepare_results(results)


class _Recorder:
    """A metric that scores nothing and keeps everything."""

    def reset(self) -> None:
        """Forget all images."""
        self.predictions: list[Mapping[str, Tensor]] = []
        self.targets: list[Mapping[str, Tensor]] = []

    def process(self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]) -> None:
        """Take in a batch of images."""
        self.predictions += predictions
        self.targets += targets

    def evaluate(self) -> dict[str, float]:
        """Score nothing."""
        return {}


def _remembered(description: DetectorDescription) -> Mapping[str, Any]:
    """Return what a weights file remembers of its training, as settings have it; nothing for older files."""
    return {} if description.trained_on is None else description.trained_on.metadata()


def _seen(images: StreamedSplit, description: DetectorDescription) -> int:
    """Count the images that were decoded here and that the detector was trained on."""
    return 0 if description.trained_on is None else images.count_seen(description.trained_on.images)


def _alterations(records: Sequence[ImageRecord], split: str) -> Iterator[str]:
    """Say how many objects are not what evaluators that read the file of annotations themselves take them for."""
    altered = sum(record.annotated_as.altered for record in records if record.annotated_as is not None)
    if altered:
        yield (
            f"{altered} object(s) of the {split} split are not scored as written, as pycocotools would: boxes end at "
            "the image's edge, those without area are left out, and areas of 0 are the box's"
        )


def _warnings(count: int, total: int, split: str) -> Iterator[str]:
    """Say how many of the images that were scored on the detector was trained on."""
    if count:
        yield (
            f"{count} of {total} {split} images are among those that the weights were trained on: the scores are too "
            "good; score on images that they have not seen"
        )


def _open(
    data: str | None, seed: int | None, options: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> DetectionData:
    own = settings.get("data")
    spec = own if data is None else data
    if spec is None:
        raise ConfigError("the weights file does not say which data to score on: name it with --data")
    if options is None:
        options = settings.get("data_options", {}) if spec == own else {}
    seed = settings.get("data_seed", 0) if seed is None else seed
    return open_known(spec, seed, options)
