"""Which CUDA device a worker process computes on: one of its own, as far as there are enough."""

import os
from collections.abc import Mapping

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_devices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Name the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES takes them; CUDA is not started.

    Args:
        environment: names of the devices (numbers, or UUIDs of whole or divided GPUs) are taken from it where it has
            them.
    """
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    return named[:count] if named else [str(number) for number in range(count)]


def take_device(slot: int, devices: list[str]) -> None:
    """Let this process see only the device of its slot; slots beyond the devices share them in turn.

    To be called before CUDA is started in the process: what is called ``cuda`` is that device from then on.
    """
    if devices:
        os.environ[VISIBLE] = devices[slot % len(devices)]
