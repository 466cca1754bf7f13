"""A batch that does not fit in memory: what was asked for, what there is, what to lower."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from spnas_core.errors import EvaluationError
from spnas_detect.data.loader import Batch
from spnas_detect.memory import asked_memory, available_memory
from spnas_detect.training.settings import TrainingSettings


class OutOfMemoryError(EvaluationError):
    """A batch does not fit; the message has what was asked for, what there is, and what to lower."""


@contextmanager
def explained_memory(device: torch.device, batches: Sequence[Batch], settings: TrainingSettings) -> Iterator[None]:
    """Turn an allocation that fails inside into an error that says what to do.

    Args:
        device: that computes.
        batches: of the step; none while they are read.
        settings: that decide how much is computed at a time.

    Raises:
        OutOfMemoryError: memory has run out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        asked = asked_memory(error)
        if asked is None:
            raise
        images = f"{settings.batch_size // settings.accumulate} images"
        if batches:
            count, _, height, width = batches[0].images.shape
            images = f"{count} images of {width}x{height}"
        lower = "lower training.batch_size or --image-size"
        if settings.batch_size > settings.accumulate:
            lower = f"raise training.accumulate (now {settings.accumulate}), or {lower}"
        raise OutOfMemoryError(
            f"{images} at a time do not fit in the memory of {device}: {asked} more were "
            f"asked for, {available_memory(device)}; {lower}"
        ) from error
