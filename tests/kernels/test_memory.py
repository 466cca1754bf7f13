"""What the operators say where memory does not suffice: it must be known for what it is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import spnas_kernels
from spnas_detect.memory import asked_memory
from spnas_kernels import _library

pytestmark = [
    pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the address space is limited as Linux does it"),
]

MIB = 2**20
LIMITED = f"""
import resource, torch
from spnas_kernels import assign_targets, nms_grouped_padded, roi_align_fpn
feature = torch.randn(1, 64, 8, 8)
rois = torch.tensor([[0, 1.0, 1, 4, 4]]).repeat(9000, 1)
wide = torch.zeros(1, 1, 1, 1).expand(1, 1, 4000, 4000)
large = wide[..., :3000, :3000].contiguous()
whole = torch.tensor([[0, 0, 0, 3999.0, 3999]])
pooled = roi_align_fpn([wide[..., :2000, :2000].requires_grad_()], whole / 2, 2, [1.0], sampling_ratio=2)
boxes, scores, groups = torch.rand(1, 5, 4).sort().values, torch.rand(1, 5), torch.zeros(1, 5, dtype=torch.long)
objects, labels = torch.rand(4000, 1, 4), torch.ones(4000, 1, dtype=torch.long)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 160 * {MIB},) * 2)
cases = {{
    "result": lambda: roi_align_fpn([feature], rois, 28, [1.0]),
    "work buffer": lambda: roi_align_fpn([large], whole * 0.7, 2, [1.0], sampling_ratio=2),
    "gradient's work buffer": lambda: pooled.sum().backward(),
    "table": lambda: nms_grouped_padded(boxes, scores, groups, 0.5, 2**28),
    "more than any": lambda: nms_grouped_padded(boxes, scores, groups, 0.5, 2**62),
    "rows": lambda: assign_targets(torch.rand(20000, 4), objects, labels, 0.7, 0.3),
}}
for name, case in cases.items():
    try:
        case()
    except (MemoryError, RuntimeError) as error:
        print(name, type(error).__name__, str(error).partition(chr(10))[0], sep="|")
    else:
        print(name, "nothing", "", sep="|")
"""


@pytest.fixture(scope="module")
def told():
    """What each case raises in a process that has 160 MiB left: its type and its words."""
    environment = {**os.environ, "PYTHONPATH": str(Path(spnas_kernels.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LIMITED], env=environment, capture_output=True, text=True, check=True)
    return {name: (kind, words) for name, kind, words in (line.split("|") for line in done.stdout.splitlines())}


def error_of(told, name):
    kind, words = told[name]
    assert kind == "RuntimeError", words
    return RuntimeError(words)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("result", f"{9000 * 64 * 28 * 28 * 4 / 2**30:.2f} GiB"),
        ("work buffer", f"{3000 * 3000 * 16 * 4 / MIB:.1f} MiB"),
        ("gradient's work buffer", f"{2000 * 2000 * 16 * 4 / MIB:.1f} MiB"),
        ("table", "2.00 GiB"),
        ("more than any", "an unknown amount"),
        ("rows", f"{20000 * 4000 * 8 / MIB:.1f} MiB"),
    ],
)
def test_what_does_not_fit_is_a_lack_of_memory_that_says_how_much_was_asked_for(told, name, asked):
    assert asked_memory(error_of(told, name)) == asked


def test_a_thread_that_fails_keeps_its_words(told):
    assert "for a work buffer" in str(error_of(told, "work buffer"))
