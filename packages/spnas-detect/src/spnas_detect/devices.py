"""The device that computes."""

import torch

from spnas_core.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Find a device and try it out.

    Args:
        name: as torch calls it, such as ``cpu`` or ``cuda:1``; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        number = torch.rand(1, device=name, generator=torch.Generator(name))
        float(number)  # a device that computes nothing, such as meta, has none
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return number.device


def check_devices(count: int, device: torch.device) -> None:
    """Refuse more processes than there are GPUs, where they compute on GPUs.

    Raises:
        ConfigError: names both numbers.
    """
    if device.type == "cuda" and count > max(torch.cuda.device_count(), 1):
        raise ConfigError(
            f"devices is {count}, and this machine has {torch.cuda.device_count()} GPUs: lower it, or compute on the "
            "device cpu"
        )
