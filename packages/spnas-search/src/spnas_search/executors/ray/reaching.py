"""Whether a Ray cluster answers: asked by a process of its own, since Ray tries for minutes and cannot be stopped."""

import subprocess
import sys
from functools import cache

from spnas_core.errors import ConfigError

ANSWER_SECONDS = 20.0

_PROBE = """
import sys, ray
print("imported", flush=True)
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print("connected", flush=True)
ray.shutdown()
"""


@cache
def check_reachable(address: str) -> None:
    """See that a cluster answers, once per process and address.

    Raises:
        ConfigError: it does not within 20 seconds, or refuses; the message has the address.
    """
    probe = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", _PROBE, address],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if probe.stdout is not None:
            probe.stdout.readline()  # the clock begins when Ray is imported: that takes long where disks are slow
        out, err = probe.communicate(timeout=ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"no Ray cluster answers at {address} within {ANSWER_SECONDS:g} s: check executor.address (or RAY_ADDRESS) "
            "and that `ray status` knows it; without an address a cluster is started on this machine"
        ) from None
    finally:
        probe.kill()
        probe.wait()
        for pipe in (probe.stdout, probe.stderr):
            if pipe is not None:
                pipe.close()
    if "connected" not in out:
        said = [line for line in err.splitlines() if line.strip()] or ["it ended without a word"]
        raise ConfigError(
            f"the Ray cluster at {address} cannot be used: {said[-1].strip()}; check executor.address (or RAY_ADDRESS)"
        )
