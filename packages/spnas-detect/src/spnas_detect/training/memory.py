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
