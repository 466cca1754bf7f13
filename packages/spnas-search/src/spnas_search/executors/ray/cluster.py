"""The Ray cluster that evaluations run on: one that runs, or one of this machine, which ends with the search."""

import contextlib
import signal
import warnings
from collections.abc import Iterator
from typing import Any

from spnas_core.errors import ConfigError
from spnas_search.executors.ray.losses import Node
from spnas_search.executors.ray.reaching import check_reachable
from spnas_search.executors.ray.settings import INSTALL, RaySettings


def import_ray() -> Any:
    """Import Ray.

    Raises:
        ConfigError: it is not installed; the line that installs it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what Ray imports, which no user can mend
            import ray
    except ImportError as error:
        raise ConfigError(f"the executor 'ray' needs Ray, which cannot be imported ({error}): {INSTALL}") from error
    return ray


class Cluster:
    """A connection to a cluster.

    A process that has called ``ray.init`` itself keeps its connection: it is used, and not closed.

    Args:
        settings: of the executor.

    Attributes:
        ray: the module.
        home: Ray's number of the node that the connection goes through.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """

    def __init__(self, settings: RaySettings) -> None:
        self.ray = import_ray()
        self._is_ours = not self.ray.is_initialized()
        if self._is_ours:
            self._connect(settings)
        self.home: str = self.ray.get_runtime_context().get_node_id()

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive, in Ray's order."""
        return [
            Node(found["NodeID"], found["NodeManagerHostname"], found["Resources"])
            for found in self.ray.nodes()
            if found["Alive"]
        ]

    def close(self) -> None:
        """Disconnect; a cluster that was started here ends."""
        if self._is_ours and self.ray.is_initialized():
            self.ray.shutdown()

    def _connect(self, settings: RaySettings) -> None:
        address = settings.cluster_address
        options: dict[str, Any] = {"address": address or "local", "log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            options |= {"num_cpus": settings.local_cores, "include_dashboard": False}
        else:
            check_reachable(address)
        try:
            with _our_signals(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.ray.init(**options)
        except (Exception, SystemExit) as error:  # Ray ends the process where a cluster is gone meanwhile
            what = "no Ray cluster can be started on this machine" if address is None else f"no Ray at {address}"
            said = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"{what}: {said}") from error


@contextlib.contextmanager
def _our_signals() -> Iterator[None]:
    """Keep the handlers of signals that Ray replaces by its own."""
    try:
        before = signal.getsignal(signal.SIGTERM)
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray could not set any either
            signal.signal(signal.SIGTERM, before)
