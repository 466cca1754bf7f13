"""The table ``[executor]`` that all executors share."""

from typing import Annotated, Literal

from pydantic import Field

from spnas_core.configuration import Count, Table

_Count = Annotated[Count, Field(ge=1)]


class ExecutorSettings(Table):
    """Where evaluations run. An executor with settings of its own derives from this model.

    Attributes:
        name: a registered executor.
        workers: evaluations at a time, at most ``cores``, or as many as there are CUDA devices; ``auto`` is what the
            executor can do up to one per CUDA device, else one per CPU core up to the round's size.
        cores: CPU cores to use in all, shared evenly among the workers; ``auto`` is what this process may use by its
            affinity and its control group, and at most ``OMP_NUM_THREADS`` for each worker where that is set.
        timeout: seconds after which an evaluation counts as failed; None waits for ever.
    """

    name: str = "processes"
    workers: Literal["auto"] | _Count = "auto"
    cores: Literal["auto"] | _Count = "auto"
    timeout: float | None = Field(None, gt=0)
