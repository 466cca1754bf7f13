"""How many evaluations run at a time, and with how many threads: what the settings ask for, on this machine."""

from dataclasses import dataclass, replace

from spnas_core.errors import ConfigError
from spnas_core.machine import thread_limit, usable_cores
from spnas_search.executors import ExecutorSettings, executor_plugin


@dataclass(frozen=True)
class Resources:
    """What evaluations compute with.

    Attributes:
        workers: evaluations at a time.
        cores: CPU cores that are shared evenly among them.
        remark: what a user should know of it; empty where it is as asked for.
    """

    workers: int
    cores: int
    remark: str = ""

    @property
    def threads(self) -> int:
        """CPU threads of each evaluation where all workers are busy."""
        return max(1, self.cores // self.workers)


def share_cores(settings: ExecutorSettings, side_by_side: int | None = None) -> Resources:
    """Share the cores among evaluations.

    Args:
        settings: ``workers = "auto"`` is one per CUDA device, else one per core.
        side_by_side: how many evaluations there are at a time, which ``auto`` does not exceed; None for no bound.

    Raises:
        PluginError: an unknown executor.
        ConfigError: more workers than cores and CUDA devices, or a time-out that the executor cannot keep.
    """
    import torch

    plugin = executor_plugin(settings.name)
    if plugin.slots is not None:
        workers, threads = plugin.slots(settings, side_by_side)
        return Resources(workers, workers * threads)
    cores = usable_cores() if settings.cores == "auto" else settings.cores
    devices = torch.cuda.device_count()
    if settings.timeout is not None and not plugin.can_time_out:
        raise ConfigError(
            f"executor.timeout is {settings.timeout:g}, and the executor {settings.name!r} cannot end an evaluation: "
            "leave it out, or choose another executor"
        )
    most = plugin.most_workers
    if settings.workers == "auto":
        wanted = devices or min(cores, side_by_side or cores)
        return _within_limit(Resources(min(wanted, most or wanted), cores), settings)
    wanted = settings.workers
    if wanted > max(cores, devices):
        raise ConfigError(
            f"executor.workers is {wanted}, on {cores} CPU core(s): an evaluation needs one of its own, or a CUDA "
            "device; lower it, or say how many cores there are by executor.cores"
        )
    if most is not None and wanted > most:
        remark = (
            f"executor.workers is {wanted}, and the executor {settings.name!r} has at most {most}: so many evaluations "
            f"run at a time, with {cores // most} CPU core(s) each"
        )
        return _within_limit(Resources(most, cores, remark), settings)
    return _within_limit(Resources(wanted, cores), settings)


def _within_limit(shared: Resources, settings: ExecutorSettings) -> Resources:
    """Take no more cores than the workers may have threads, unless the settings say how many."""
    limit = thread_limit()
    if limit is None or settings.cores != "auto":
        return shared
    return replace(shared, cores=min(shared.cores, limit * shared.workers))
