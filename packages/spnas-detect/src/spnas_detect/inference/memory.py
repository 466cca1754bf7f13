"""A batch that does not fit in memory."""

from contextlib import AbstractContextManager

import torch

from spnas_core.errors import ConfigError
from spnas_detect.memory import explained_allocation


def explained_memory(count: int, image_size: tuple[int, int], device: torch.device) -> AbstractContextManager[None]:
    """Turn an allocation that fails inside into a ``ConfigError``.

    Args:
        count: images at a time.
        image_size: their (width, height).
        device: that computes.
    """
    what = f"{count} images of {image_size[0]}x{image_size[1]} at a time"
    return explained_allocation(device, ConfigError, lambda: (what, "lower --batch-size"))
