"""What reignites a detector whose search is stuck: images to classify, and a training of its backbone on them."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from spnas_core.networks import Backbone
from spnas_detect.data import ClassificationData, cache_thumbnails
from spnas_detect.data.faults import refuse
from spnas_detect.data.image_folder import header_faults
from spnas_detect.data.images.reading import common_folder
from spnas_detect.preparation import classification_data
from spnas_detect.settings import DetectionSettings
from spnas_detect.training import pretrain


def checked_images(settings: DetectionSettings) -> tuple[tuple[str, ...], str]:
    """Find what a backbone would be reignited on; of images in a folder the headers are read, and none is decoded.

    Returns:
        What a reader of results should know, and a digest of the folder: names, sizes and classes of its images,
        whatever their times are; empty for crops, which are as the data that they are cut from.

    Raises:
        DataError: fewer than two classes, classes or splits without an image, or images that cannot be read.
    """
    data = classification_data(settings)
    refuse(data.spec, header_faults(data))
    return tuple(f"{data.spec}: {note}" for note in data.notes), _digest(data) if data.files else ""


def reignite(
    backbone: Backbone,
    settings: DetectionSettings,
    cache: Path,
    epochs: int,
    *,
    seed: int,
    report: Callable[[int, int, str], None],
) -> dict[str, object]:
    """Train a backbone on classification, in place.

    Args:
        backbone: with its weights, on its device.
        settings: say on what, and how.
        cache: folder of caches, in which the images are kept as they are classified.
        epochs: 1 or more.
        seed: of everything random.
        report: called with (done, total, what happens).

    Returns:
        What came of it, as the receipt has it.

    Raises:
        DataError: an image cannot be decoded.
        EvaluationError: the loss is not finite any more, or a batch does not fit in memory.
    """
    images = cache_thumbnails(
        classification_data(settings),
        cache,
        settings.pretraining.image_side,
        lambda done, total: report(done, total, "reading images to classify"),
    )
    result = pretrain(backbone, images, settings.pretraining, settings.training, epochs, seed=seed, report=report)
    return {"pretraining": result.as_dict()}


def _digest(data: ClassificationData) -> str:
    digest = hashlib.sha256(repr((data.classes, *map(len, data.splits.values()))).encode())
    root = common_folder([Path(file) for file in data.files])
    for file in data.files:
        digest.update(b"%s\0%d\n" % (os.fsencode(os.path.relpath(file, root)), Path(file).stat().st_size))
    return digest.hexdigest()
