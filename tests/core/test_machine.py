"""What a process may use of the processor, beside what the machine has."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from spnas_core import machine
from spnas_core.machine import quotas, thread_limit, usable_cores


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


GROUPS = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{GROUPS}/cpu.max": "150000 100000\n"}, [1.5], id="container"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{GROUPS}/cpu.max": "max 100000\n"}, [], id="no quota"),
        pytest.param({"proc/self/cgroup": "0::/\n", f"{GROUPS}/cpu.max": "some\n"}, [], id="no numbers"),
        pytest.param(
            {
                "proc/self/cgroup": "0::/user/job\n",
                f"{GROUPS}/user/job/cpu.max": "400000 100000",
                f"{GROUPS}/user/cpu.max": "200000 100000",
            },
            [4.0, 2.0],
            id="a group within a group",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "5:memory:/job\n4:cpu,cpuacct:/job\n0::/\n",
                f"{GROUPS}/cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n",
                f"{GROUPS}/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
                f"{GROUPS}/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                f"{GROUPS}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            [3.0],
            id="version 1",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/docker/of/the/host\n", f"{GROUPS}/cpu.max": "50000 100000\n"},
            [0.5],
            id="a path that is the host's",
        ),
    ],
)
def test_quotas_of_control_groups_are_read(tmp_path, files, found):
    assert list(quotas(tree(tmp_path, files))) == found


def test_a_quota_bounds_the_cores_and_leaves_one(tmp_path, monkeypatch):
    monkeypatch.setattr("spnas_core.machine._ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usable_cores() == 64
    tree(tmp_path, {"proc/self/cgroup": "0::/\n", f"{GROUPS}/cpu.max": "250000 100000\n"})
    assert usable_cores() == 2
    tree(tmp_path, {f"{GROUPS}/cpu.max": "50000 100000\n"})
    assert usable_cores() == 1


def test_a_machine_without_affinities_counts_its_cores(tmp_path, monkeypatch):
    monkeypatch.setattr("spnas_core.machine._ROOT", tmp_path)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert usable_cores() == 5


@pytest.mark.parametrize(
    ("text", "limit"), [("3", 3), (" 2,4", 2), ("0", None), ("-1", None), ("", None), ("many", None)]
)
def test_the_limit_of_threads_is_the_first_number(monkeypatch, text, limit):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert thread_limit() == limit


def test_memory_of_the_parent_is_none_of_the_childs(tmp_path):
    """What ``getrusage`` says on Linux is the parent's, where that had more."""
    held = bytearray(300 * 2**20)
    code = "from spnas_core.machine import peak_memory; print(peak_memory())"
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 2**20 < child < 200 * 2**20 + len(held) * (not Path("/proc/self/status").exists())


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_without_the_systems_own_word_the_unit_is_the_platforms(tmp_path, monkeypatch, platform, unit):
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7))
    assert machine.peak_memory() == 7 * unit
    tree(tmp_path, {"proc/self/status": "VmPeak:\t 9 kB\nVmHWM:\t   12 kB\n"})
    assert machine.peak_memory() == 12 * 1024
