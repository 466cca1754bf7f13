"""A batch that does not fit in memory: what was asked for, what there is, what to lower."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import torch

from spnas_core.errors import EvaluationError
from spnas_detect.data.loader import Batch
from spnas_detect.memory import explained_allocation
from spnas_detect.training.settings import TrainingSettings


class OutOfMemoryError(EvaluationError):
    """A batch does not fit; the message has what was asked for, what there is, and what to lower."""


def smaller_parts(settings: TrainingSettings) -> int:
    """Return in how many parts a step is computed where its present ones do not fit: of half their size at most.

    Parts are equal, so that a batch of 15 images in one part becomes three parts of 5. What cannot be parted any more
    stays.
    """
    batch, parts = settings.batch_size, settings.accumulate
    return next((more for more in range(2 * parts, batch + 1) if batch % more == 0), parts)


def explained_memory(
    device: torch.device, batches: Sequence[Batch], settings: TrainingSettings
) -> AbstractContextManager[None]:
    """Turn an allocation that fails inside into an ``OutOfMemoryError``.

    Args:
        device: that computes.
        batches: of the step; none while they are read.
        settings: that decide how much is computed at a time.
    """

    def explain() -> tuple[str, str]:
        images = f"{settings.batch_size // settings.accumulate} images"
        if batches:
            count, _, height, width = batches[0].images.shape
            images = f"{count} images of {width}x{height}"
        lower = "lower training.batch_size or --image-size"
        if settings.batch_size > settings.accumulate:
            lower = f"raise training.accumulate (now {settings.accumulate}), or {lower}"
        return f"{images} at a time", lower

    return explained_allocation(device, OutOfMemoryError, explain)
