"""A batch that does not fit in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from spnas_core.errors import ConfigError

_CPU_REFUSAL = "you tried to allocate"  # torch raises a plain RuntimeError there


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
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_REFUSAL in str(error).lower()
        if not is_memory:
            raise
        said = (str(error).splitlines() or [""])[0] or "no more could be had"
        raise ConfigError(
            f"{count} images of {image_size[0]}x{image_size[1]} at a time do not fit in the memory of {device}: "
            f"lower --batch-size ({said})"
        ) from error
