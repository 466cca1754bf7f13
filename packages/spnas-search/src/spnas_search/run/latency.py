"""A bound on measured latency: each architecture is measured once, and the measurement is stored."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from spnas_core.cost.latency import Latency, latency_device, measure_latency
from spnas_core.encoding import Architecture
from spnas_core.errors import MachineError
from spnas_search.settings import RunSettings


class Measurements(Protocol):
    """Where measurements are kept; an archive."""

    def measure(self, what: str, subject: str, value: str) -> None:
        """Store one."""

    def measurement(self, what: str, subject: str) -> str | None:
        """Return a stored one; None where there is none."""


LATENCY = "latency"
"""Name of the cost that is measured, in milliseconds."""


def latency_meter(settings: RunSettings, image_size: tuple[int, int]) -> "LatencyMeter | None":
    """Make what measures latency; None where the settings neither bound nor weigh it.

    Raises:
        ConfigError: the device is not there.
    """
    limits = settings.space
    if limits.max_latency == "none" and LATENCY not in settings.pareto:
        return None
    return LatencyMeter(limits.latency_device, image_size, Architecture.parse(settings.start))


def idle_device(settings: RunSettings) -> Iterator[str]:
    """Warn of a device on which nothing is measured.

    Raises:
        ConfigError: the device is not there.
    """
    device = settings.space.latency_device
    latency_device(device)
    if device != type(settings.space)().latency_device and latency_meter(settings, (1, 1)) is None:
        yield (
            f"warning: space.latency_device (--latency-device) is {device!r}, and this search measures no latency: "
            f"bound it by space.max_latency, or name {LATENCY!r} in pareto"
        )


def latency_bound(settings: RunSettings, meter: "LatencyMeter | None") -> "LatencyBound | None":
    """Make the bound that settings ask for; None where they ask for none."""
    limit = settings.space.max_latency
    return None if limit == "none" or meter is None else LatencyBound(limit, meter)


@dataclass
class LatencyMeter:
    """Measures each architecture once.

    The start is measured by itself; everything else in turn with it, so that a machine's faster and slower minutes
    cancel. What is stored is not measured again: a resumed search decides as it did.

    Attributes:
        device: on which it is measured.
        image_size: (width, height) in pixels.
        start: what everything is measured beside.
        store: where measurements are kept; None keeps them for this process alone.
    """

    device: str
    image_size: tuple[int, int]
    start: Architecture
    store: Measurements | None = None
    _known: dict[Architecture, Latency] = field(default_factory=dict)

    def __post_init__(self) -> None:
        latency_device(self.device)

    def of(self, architecture: Architecture) -> Latency:
        """Return the latency of an architecture.

        Raises:
            MachineError: the device does not compute it.
        """
        if architecture not in self._known:
            stored = None if self.store is None else self.store.measurement(self._what, str(architecture))
            if stored is not None:
                self._known[architecture] = Latency(**json.loads(stored))
            else:
                self._known[architecture] = found = self._measured(architecture)
                if self.store is not None:
                    self.store.measure(self._what, str(architecture), json.dumps(found.as_dict()))
        return self._known[architecture]

    def _measured(self, architecture: Architecture) -> Latency:
        beside = None if architecture == self.start else (self.start, self.of(self.start).median)
        try:
            return measure_latency(architecture, *self.image_size, device=self.device, beside=beside)
        except RuntimeError as error:  # torch's, out of memory among them
            reason = str(error).partition("\n")[0]
            raise MachineError(
                f"the latency of {architecture} on {self.device} cannot be measured: {reason}"
            ) from error

    @property
    def _what(self) -> str:
        return f"latency {self.device} {self.image_size[0]}x{self.image_size[1]}"


@dataclass(frozen=True)
class LatencyBound:
    """Lets no architecture into a space whose latency is above a limit.

    What decides is the upper end of the median's 95 % interval.

    Attributes:
        limit: in milliseconds, or as a multiple of the start's median, such as ``1.5x``.
        meter: measures.
    """

    limit: float | str
    meter: LatencyMeter
    is_measured: ClassVar[bool] = True

    def milliseconds(self) -> float:
        """The limit, in milliseconds."""
        if isinstance(self.limit, str):
            return float(self.limit.removesuffix("x")) * self.meter.of(self.meter.start).median
        return self.limit

    def violation(self, architecture: Architecture) -> str | None:
        """Say by how much an architecture is too slow; None where it is not."""
        if architecture == self.meter.start and isinstance(self.limit, str):
            return None  # the measure itself
        most, found = self.milliseconds(), self.meter.of(architecture)
        if found.high <= most:
            return None
        where = f"on {self.meter.device} (median {found.median:.2f})"
        return f"{found.high:.2f} ms {where} where max_latency = {most:.2f} ms"
