"""A batch that does not fit in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spnas_core.errors import ConfigError
from spnas_detect.memory import asked_memory, available_memory


@contextmanager
def explained_memory(count: int, image_size: tuple[int, int], device: torch.device) -> Iterator[None]:
    """Turn an allocation that fails inside into an error that says what to lower.

    Args:
        count: images at a time.
        image_size: their (width, height).
        device: that computes.

    Raises:
        ConfigError: memory has run out.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        asked = asked_memory(error)
        if asked is None:
            raise
        raise ConfigError(
            f"{count} images of {image_size[0]}x{image_size[1]} at a time do not fit in the memory of {device}: "
            f"{asked} more were asked for, {available_memory(device)}; lower --batch-size"
        ) from error
