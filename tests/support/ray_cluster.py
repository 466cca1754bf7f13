"""A Ray cluster of two nodes on this machine, for the tests of one module."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LEAN = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False, "object_store_memory": 100 << 20}


@contextmanager
def ray_cluster(*cores: int) -> Iterator[tuple[Any, list[Any]]]:
    """Start a node per number of cores, connect to the first, and end all of them.

    Yields:
        The cluster, and its nodes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import ray
        from ray.cluster_utils import Cluster
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # tasks of the tests lie where pytest looks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": cores[0]})
        try:
            options = {name: LEAN[name] for name in ("object_store_memory",)}
            nodes = [cluster.head_node, *(cluster.add_node(num_cpus=count, **options) for count in cores[1:])]
            ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
            yield cluster, nodes
        finally:
            ray.shutdown()
            cluster.shutdown()
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
