"""How long a backbone takes on a device, measured."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spnas_core.errors import ConfigError

if TYPE_CHECKING:
    from spnas_core.backbones import AnyNetwork

NORMAL_95 = 1.96


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one image.

    Attributes:
        median: over the runs.
        low: lower end of the median's 95 % interval, which is that of order statistics, whatever the distribution.
        high: upper end.
        runs: how many.
    """

    median: float
    low: float
    high: float
    runs: int

    def as_dict(self) -> dict[str, float]:
        """Return plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.median:.2f} ms ({self.low:.2f}-{self.high:.2f}, {self.runs} runs)"


def latency_device(name: str) -> torch.device:
    """Return the device to measure on.

    Raises:
        ConfigError: it is none, or not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"latency device {name!r} is none: write cpu, cuda or cuda:1") from None
    if device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"latency device {name!r} cannot be measured: choose cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"latency device {name!r} is not there: this machine has {torch.cuda.device_count()} of them")
    return device


def measure_latency(
    architecture: "AnyNetwork",
    width: int,
    height: int,
    *,
    device: torch.device | str = "cpu",
    beside: "tuple[AnyNetwork, float] | None" = None,
    warmup: int = 5,
    runs: int = 60,
    threads: int | None = None,
) -> Latency:
    """Measure the forward pass of a backbone with fresh weights on one image, in evaluation mode, channels-last.

    Clocks and neighbours make a machine faster and slower from second to second. Beside a reference, which is run in
    turn with it, what is measured is the ratio of each pair, and that stays: in docs/benchmarks.md the order of thirty
    codes is the same in another measurement (Kendall's τ 0.96), without a reference it is not (0.60).

    Args:
        architecture: the code, or another network.
        width: of the image, in pixels.
        height: of the image, in pixels.
        device: on which; on a GPU each run is waited for.
        beside: the reference, and its latency in milliseconds; None measures seconds as they pass.
        warmup: runs that are not counted.
        runs: that are.
        threads: CPU threads; None for torch's own number.

    Raises:
        ConfigError: the device is not there.
    """
    place = latency_device(str(device))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        codes = [architecture] if beside is None else [architecture, beside[0]]
        times = _times(codes, (width, height), place, warmup + runs)[warmup:]
    finally:
        torch.set_num_threads(before)
    found = np.sort(1e3 * times[:, 0] if beside is None else times[:, 0] / times[:, 1] * beside[1])
    half = NORMAL_95 * math.sqrt(runs) / 2
    ends = math.floor(runs / 2 - half), math.ceil(runs / 2 + half)
    low, high = (float(found[min(max(place, 0), runs - 1)]) for place in ends)
    return Latency(float(np.median(found)), low, high, runs)


def measure_latencies(
    networks: "Sequence[AnyNetwork]", width: int, height: int, *, device: torch.device | str = "cpu"
) -> list[Latency]:
    """Measure several backbones: the first by itself, and every other in turn with it; see ``measure_latency``."""
    first, *others = networks
    alone = measure_latency(first, width, height, device=device)
    beside = first, alone.median
    return [alone, *(measure_latency(other, width, height, device=device, beside=beside) for other in others)]


def _times(
    codes: "Sequence[AnyNetwork]", size: tuple[int, int], device: torch.device, turns: int
) -> NDArray[np.float64]:
    """Run backbones in turn; float64[turns, codes], in seconds."""
    from spnas_core.backbones import fresh_network

    image = torch.zeros(1, 3, size[1], size[0], device=device).to(memory_format=torch.channels_last)
    backbones = []
    for code in codes:
        backbone = fresh_network(code, seed=0).eval()
        backbones.append(backbone.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
    with torch.inference_mode():
        return np.array([[_timed(backbone, image) for backbone in backbones] for _ in range(turns)])


def _timed(backbone: Callable[[torch.Tensor], object], image: torch.Tensor) -> float:
    begin = time.perf_counter()
    backbone(image)
    if image.is_cuda:
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - begin
