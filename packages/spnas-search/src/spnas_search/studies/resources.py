"""How many trainings of a study run at a time, and with how many threads."""

import os
from dataclasses import dataclass

from spnas_core.errors import ConfigError
from spnas_search.executors import executor_factory
from spnas_search.settings.models import ExecutorSettings


@dataclass(frozen=True)
class Resources:
    """What trainings compute with.

    Attributes:
        workers: trainings at a time.
        threads: CPU threads of each.
        remark: what a user should know of it; empty where it is as asked for.
    """

    workers: int
    threads: int
    remark: str = ""


def study_resources(settings: ExecutorSettings) -> Resources:
    """Share the cores among trainings; ``auto`` is one per CUDA device, else one per core: they are independent.

    Raises:
        PluginError: an unknown executor.
        ConfigError: more workers than cores, or a time-out that the executor cannot keep.
    """
    import torch

    factory = executor_factory(settings.name)
    cores = len(os.sched_getaffinity(0)) if settings.cores == "auto" else settings.cores
    devices = torch.cuda.device_count()
    if settings.timeout is not None and not getattr(factory, "can_time_out", True):
        raise ConfigError(
            f"executor.timeout is {settings.timeout:g}, and the executor {settings.name!r} cannot end a training: "
            "leave it out, or choose another executor"
        )
    wanted = (devices or cores) if settings.workers == "auto" else settings.workers
    if wanted > max(cores, devices):
        raise ConfigError(
            f"executor.workers is {wanted}, on {cores} CPU core(s): a training needs one of its own; lower it, or say "
            "how many cores there are by executor.cores"
        )
    workers = min(wanted, getattr(factory, "most_workers", None) or wanted)
    remark = ""
    if settings.workers != "auto" and workers < wanted:
        remark = (
            f"executor.workers is {wanted}, and the executor {settings.name!r} has at most {workers}: so many "
            "trainings run at a time"
        )
    return Resources(workers, max(1, cores // workers), remark)
