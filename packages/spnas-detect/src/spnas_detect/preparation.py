"""What a training needs before its first step, for a candidate of a search and for a training of its own alike."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import nn

from spnas_core.backbones import AnyNetwork
from spnas_core.commands.wording import counted
from spnas_core.machine import usable_cores
from spnas_detect.data import (
    CachedData,
    ClassificationData,
    Loader,
    build_cache,
    crops_from,
    open_cache,
    open_image_folder,
    train_augmentation,
)
from spnas_detect.data.choosing import repeat_factors, with_objects
from spnas_detect.data.decoding import drop_unreadable
from spnas_detect.data.image_folder import CLASSIFICATION_SPLITS
from spnas_detect.data.scenes import Scenes
from spnas_detect.data.survey import recall_limit
from spnas_detect.data.transforms import MIN_VISIBLE, Rules
from spnas_detect.detectors import DetectorDescription, TrainedOn
from spnas_detect.detectors.training_data import seen_images
from spnas_detect.metrics import check_metrics
from spnas_detect.opening import opened
from spnas_detect.processes import ALONE, Processes
from spnas_detect.settings import DetectionSettings
from spnas_detect.training import FEW_IMAGES, TrainingSettings, part_size, sees_batches
from spnas_detect.training.precision import uses_bfloat16


def make_repeatable(*, deterministic: bool, seed: int) -> None:
    """Seed torch, and let it choose algorithms that give the same result each time, where that is wanted."""
    torch.use_deterministic_algorithms(deterministic)
    # Nothing here reads memory that it has not written; filling it would cost five per cent of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.manual_seed(seed)


def prepare_data(settings: DetectionSettings, cache: Path, report: Callable[[str, int, int], None]) -> CachedData:
    """Read the annotations, decode and resize the images into the cache.

    Args:
        settings: name the data, its options and the size of the canvas.
        cache: folder of caches; one that holds the same content is used again.
        report: called with (what, done, total).

    Raises:
        DataError: the data cannot be used.
        ConfigError: a metric does not fit the data.
    """
    data = opened(settings, is_last=True)
    check_metrics(settings.metrics, data)
    return build_cache(
        data,
        cache,
        image_size=settings.image_size,
        orientation=settings.orientation,
        is_reduced=settings.reduced_decoding,
        mode=settings.cache,
        limit=settings.cache_limit,
        progress=lambda done, total: report("reading images", done, total),
    )


def prepare_together(
    settings: DetectionSettings, cache: Path, report: Callable[[str, int, int], None], processes: Processes
) -> CachedData:
    """Prepare the data of several processes: one of those that share a disk does so, the others open its cache.

    Args:
        settings: see ``prepare_data``.
        cache: see ``prepare_data``.
        report: see ``prepare_data``.
        processes: those that train together; all of them call this.

    Raises:
        DataError: the data cannot be used.
        ConfigError: a metric does not fit the data.
    """
    data: CachedData | None = None
    for leads in (processes.is_first, processes.local_rank == 0, True):
        if data is None and leads:
            data = prepare_data(settings, cache, report)
        places = processes.gather_values(None if data is None else (str(data.folder), str(data.root)))
        seen = [(Path(place[0]), Path(place[1])) for place in places if place is not None]
        if data is None:
            data = next((open_cache(*place) for place in seen if place[0].is_dir()), None)
    return cast("CachedData", data)


def classification_data(settings: DetectionSettings) -> ClassificationData:
    """Open what a backbone is reignited on: a folder of images by class, or crops of the training images.

    Raises:
        DataError: fewer than two classes, or classes without an image.
    """
    pretraining = settings.pretraining
    if pretraining.data is not None:
        on_fault = str(settings.data_options.get("on_fault", "refuse"))
        return open_image_folder(pretraining.data, seed=settings.data_seed, on_fault=on_fault)
    return crops_from(
        drop_unreadable(opened(settings), CLASSIFICATION_SPLITS),
        seed=settings.data_seed,
        context=pretraining.context,
        min_side=pretraining.min_side,
        background=pretraining.background,
    )


def data_notes(settings: DetectionSettings, data: CachedData) -> tuple[str, ...]:
    """Return what a reader of results should know.

    That is the data's notes, where the detector cannot find everything, and how a cache of some size is kept.
    """
    limits = (
        note
        for name in (("validation",) if data.tests_on_validation else ("validation", "test"))
        for note in recall_limit(name, data.split(name).objects(), settings.detector.max_detections)
    )
    choice = [data.choice] if data.choice else []
    return (*data.notes, *limits, *_choice_notes(settings.training, data), *choice)


RARE = 0.001
"""Share of the images below which a class is rare: LVIS's threshold."""


def _choice_notes(training: TrainingSettings, data: CachedData) -> Iterator[str]:
    """Say which training images are left out, and how much more often others come."""
    split = data.split("train")
    used = with_objects(split) if training.empty == "drop" else range(len(split))
    if len(used) < len(split):
        empty = len(split) - len(used)
        yield f"{empty} of {len(split)} training images have no box that counts: left out (training.empty)"
    if training.sampling == "class-balanced":
        factors = repeat_factors(split, used, training.balance_threshold or RARE)
        rare, most = int((factors > 1).sum()), factors.max(initial=1.0)
        if rare:
            yield f"{rare} of {len(used)} training images have a rare class, and come up to {most:.2f} times as often"
        else:
            yield "no class is rare, so all training images come as often: raise training.balance_threshold"


def norm_notes(detector: nn.Module, training: TrainingSettings, processes: int) -> Iterator[str]:
    """Say so where batch norms of several processes see few images each."""
    images = training.batch_size // (training.accumulate * processes)
    if processes > 1 and images < FEW_IMAGES and sees_batches(detector):
        yield (
            f"batch norms see the {counted(images, 'image')} of each device alone, not the {images * processes} of all "
            "as on one device: --norm sync has them see all"
        )


def uses_channels_last(training: TrainingSettings) -> bool:
    """Say whether networks and batches have the channels-last memory format."""
    return True if training.channels_last == "auto" else training.channels_last


_MOST_AHEAD = 8  # batches, each in pinned memory and made by a thread of its own


def _batches_ahead(training: TrainingSettings, device: torch.device) -> int:
    if training.prefetch == "auto":
        return min(usable_cores(), _MOST_AHEAD) if device.type == "cuda" else 0
    return training.prefetch


def train_loader(
    training: TrainingSettings,
    data: CachedData,
    *,
    seed: int,
    epochs: int,
    device: torch.device,
    processes: Processes = ALONE,
    half: int | None = None,
) -> Loader:
    """Return the augmented training images in batches: of each, this process's part, as the device likes to get it.

    A last, smaller batch is left out where there is a whole one. ``epochs`` are those of the training.
    Of two trainings that share the images ``half`` is which.

    Raises:
        ConfigError: the batch cannot be shared out evenly.
        DataError: several processes and fewer images than a batch has.
    """
    size = part_size(training, processes.count)
    onto_canvas = training.scale_onto == "canvas"
    rules = Rules(min_visible=MIN_VISIBLE if training.min_visible is None else training.min_visible)
    return Loader(
        data.split("train"),
        batch_size=size,
        accumulate=training.accumulate,
        augmentation=train_augmentation(
            flip=training.flip,
            scale_range=None if onto_canvas else training.scale_range,
            min_visible=rules.min_visible,
        ),
        scenes=Scenes(
            training.scale_range if onto_canvas else None,
            training.mosaic or 0.0,
            epochs - (training.mosaic_off_epochs or 0),
            train_augmentation(flip=training.flip, min_visible=rules.min_visible),
            rules,
        )
        if training.mosaic or onto_canvas
        else None,
        photometric=training.photometric,
        shuffle=True,
        seed=seed,
        drop_last=True if processes.count > 1 else None,
        drop_empty=training.empty == "drop",
        share=training.share,
        half=half,
        balance=(training.balance_threshold or RARE) if training.sampling == "class-balanced" else None,
        channels_last=uses_channels_last(training),
        image_sizes=training.image_sizes,
        prefetch=_batches_ahead(training, device),
        pin=device.type == "cuda",
        rank=processes.rank,
        world_size=processes.count,
    )


def describe_detector(
    architecture: AnyNetwork,
    data: CachedData,
    settings: DetectionSettings,
    device: torch.device,
    began_with: Path | str | None = None,
) -> DetectorDescription:
    """Return what a weights file says of itself: all that it takes to build its detector again, and to score it.

    Args:
        architecture: of its backbone.
        data: that it was trained on.
        settings: of the training.
        device: that has computed.
        began_with: file of the weights that it inherited, whose training images count as its own; None for fresh ones.
    """
    trained_on = TrainedOn(
        settings.data,
        settings.data_seed,
        settings.data_options,
        images=data.split("train").seen() | seen_images(began_with),
        metrics=settings.metrics,
        precision="bfloat16" if uses_bfloat16(settings.training.precision, device) else "float32",
    )
    return DetectorDescription(
        str(architecture),
        data.classes,
        settings.detector,
        settings.image_size,
        settings.training.norm,
        settings.orientation,
        settings.reduced_decoding,
        trained_on,
    )
