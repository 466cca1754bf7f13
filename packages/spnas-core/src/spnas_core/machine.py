"""How much of this machine's processor a process may use, and how much of its memory it has used."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
_LARGEST_RESIDENT = re.compile(r"^VmHWM:\s*(\d+) kB", re.MULTILINE)


def usable_cores() -> int:
    """Return how many CPU cores this process may keep busy, 1 or more.

    That is what the affinity and the control group's quota allow: a container that may compute for two of 64 cores
    sees all 64. Parts of a core do not count, since threads that wait for one another would be held up by it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in quotas(_ROOT))]))


def thread_limit() -> int | None:
    """Return the threads that ``OMP_NUM_THREADS`` allows each process; None where it says nothing that is a number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() and int(first) > 0 else None


def peak_memory() -> int:
    """Return the most bytes of main memory that this process has used so far.

    Not what ``getrusage`` says where the system knows better: on Linux that is handed on to the processes that one
    starts.
    """
    if found := _LARGEST_RESIDENT.search(_text(_ROOT / "proc" / "self" / "status")):
        return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def quotas(root: Path) -> Iterator[float]:
    """Yield the cores for which the control groups of this process may compute, of each one that has a quota.

    Args:
        root: of the file system, with ``proc`` and ``sys`` in it.
    """
    groups = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:  # version 2: one tree
            tree, read = groups, _quota_2
        elif "cpu" in controllers.split(","):  # version 1: one tree per controller
            tree, read = groups / controllers, _quota_1
        else:
            continue
        # In a container the path is often the host's, and the tree's root is the container's own group.
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            if (quota := read(folder)) is not None:
                yield quota
            if folder == tree:
                break


def _quota_2(group: Path) -> float | None:
    return _ratio(_text(group / "cpu.max").split())


def _quota_1(group: Path) -> float | None:
    return _ratio([_text(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")])


def _ratio(numbers: list[str]) -> float | None:
    """Divide quota by period, in microseconds; None for no quota: ``max``, -1, or nothing that can be read."""
    if len(numbers) != 2 or not all(number.isascii() and number.isdecimal() for number in numbers):
        return None
    quota, period = map(int, numbers)
    return quota / period if quota and period else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
