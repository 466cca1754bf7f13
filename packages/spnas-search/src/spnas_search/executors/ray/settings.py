"""The table ``[executor]`` of the Ray executor, and how many evaluations it runs at a time."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from spnas_core.configuration import Count
from spnas_core.errors import ConfigError
from spnas_core.machine import usable_cores
from spnas_search.executors.settings import ExecutorSettings

INSTALL = "python3 -m pip install 'spnas-search[ray]'"

_MANY = 256
"""Evaluations handed out at a time where nothing else bounds them; Ray lets those wait that have no place."""


def _check_gpus(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError("a part of a GPU is below 1, several are a whole number")
    return gpus


_Gpus = Annotated[float, Field(ge=0), AfterValidator(_check_gpus)]


class RaySettings(ExecutorSettings):
    """Evaluations on a Ray cluster.

    ``workers = "auto"`` hands a whole round out; Ray lets those wait that have no place. ``cores`` is the size of a
    cluster that is started on this machine.

    Attributes:
        address: of a running cluster: ``auto`` (this machine is one of its nodes), ``HOST:PORT``, or
            ``ray://HOST:10001`` from outside; None is the environment's RAY_ADDRESS, else a cluster of this machine's
            cores, which ends with the search.
        cpus: CPU cores of an evaluation, which computes with so many threads.
        gpus: GPUs of an evaluation; below 1, several share one. ``auto`` is one where a node has any, else none.
        memory: GiB of memory that Ray keeps for an evaluation; None keeps none.
        retries: how often an evaluation whose node or worker was lost is tried again, before its candidate fails.
        patience: seconds to wait for a node with so much, where none has it; a cluster that grows takes minutes.
        node_folder: on every node, for cached data and weights; None is a folder of the user's in the system's
            temporary one.
    """

    name: str = "ray"
    address: str | None = None
    cpus: Count = Field(1, ge=1)
    gpus: Literal["auto"] | _Gpus = "auto"
    memory: float | None = Field(None, gt=0)
    retries: Count = Field(2, ge=0)
    patience: float = Field(60.0, gt=0)
    node_folder: Path | None = None

    @model_validator(mode="after")
    def _check_places(self) -> "RaySettings":
        if self.node_folder is not None and not self.node_folder.is_absolute():
            raise ValueError(f"node_folder is {self.node_folder}: it must be absolute, since it is other machines'")
        if self.address is not None and self.cores != "auto":
            raise ValueError("cores says how large a cluster of this machine is: leave it out beside an address")
        return self

    @property
    def cluster_address(self) -> str | None:
        """Of the cluster that runs; None where one is to be started here."""
        return self.address or os.environ.get("RAY_ADDRESS") or None

    @property
    def local_cores(self) -> int:
        """Cores of a cluster that is started on this machine."""
        return usable_cores() if self.cores == "auto" else self.cores


def ray_slots(settings: RaySettings, side_by_side: int | None) -> tuple[int, int]:
    """Return how many evaluations are handed out at a time, and the threads of each; see ``ExecutorPlugin.slots``.

    Raises:
        ConfigError: Ray is not installed, the cluster does not answer, or this machine has too few cores.
    """
    if find_spec("ray") is None:
        raise ConfigError(f"the executor 'ray' needs Ray, which is not installed: {INSTALL}")
    address = settings.cluster_address
    if address is not None:
        from spnas_search.executors.ray.reaching import check_reachable

        check_reachable(address)
        return (side_by_side or _MANY if settings.workers == "auto" else settings.workers), settings.cpus
    most, cores = settings.local_cores // settings.cpus, settings.local_cores
    if not most or (settings.workers != "auto" and settings.workers > most):
        workers = 1 if settings.workers == "auto" else settings.workers
        raise ConfigError(
            f"executor.workers is {workers} and executor.cpus {settings.cpus}, on {cores} CPU core(s): lower one of "
            "them, say how many cores there are by executor.cores, or name a cluster by executor.address"
        )
    return (min(most, side_by_side or most) if settings.workers == "auto" else settings.workers), settings.cpus


def why_untestable() -> str | None:
    """Say why no suite can run over the executor here; None where one can."""
    return None if find_spec("ray") else f"the executor 'ray' needs Ray: {INSTALL}"
