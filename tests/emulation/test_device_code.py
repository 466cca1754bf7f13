"""The kernels' device code, on a device that the CPU emulates, under AddressSanitizer and UBSan.

``nox -s emulate`` runs this: random cases of every kernel against the references. With ``-- --faults`` they run again,
each time with a mistake put into the device code, which must be found; one of them is put in always. That the text of
each is still there is always looked at: where it has changed, plant another fault like it.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
CASES = 500
CASES_FOR_RACES = 50


TARGETS = {
    "roi_align_forward": "roi_align_fpn",
    "roi_align_backward": "roi_align_fpn",
    "roi_align_deterministic_backward": "roi_align_fpn",
    "nms_ragged": "nms_grouped",
    "nms_padded": "nms_grouped",
    "assign_targets": "assign_targets",
    "copy_plain": "copy_weights",
    "copy_mapped": "copy_weights",
}

# What is wrong, which target shall find it, the text and what takes its place, and what the finding looks like.
FAULTS = [
    (
        "a barrier is missing before staged results are read",
        "roi_align_forward",
        "= pooled(lane, begin + row);\n    __syncthreads();",
        "= pooled(lane, begin + row);",
        "values differ",
    ),
    (
        "a barrier is missing before weights are taken from other warps",
        "roi_align_forward",
        "size) * share : 0.0f;\n    }\n    __syncthreads();",
        "size) * share : 0.0f;\n    }",
        "values differ|divergent|AddressSanitizer|runtime error",
    ),
    (
        "planar rows of sums overlap",
        "roi_align_forward",
        "kTogether * height * kRowLength; }",
        "height * kRowLength; }",
        "values differ|AddressSanitizer",
    ),
    (
        "a shared table is filled past its end",
        "roi_align_forward",
        "if (count > kTableSize) return",
        "if (count > kTableSize + 100) return",
        "runtime error|AddressSanitizer: global-buffer-overflow",
    ),
    (
        "bins of channels-last features lie too close",
        "roi_align_backward",
        "kChannels + (kPack == 1 ? 1 : 4)",
        "kChannels - (kPack == 1 ? 1 : 4)",
        "values differ|AddressSanitizer: heap-buffer-overflow",
    ),
    (
        "a gradient is read one further",
        "roi_align_backward",
        "pooled[i] = widened(source[i]);",
        "pooled[i] = widened(source[i + 1]);",
        "values differ|AddressSanitizer: heap-buffer-overflow",
    ),
    (
        "a warp mask leaves a lane out",
        "roi_align_deterministic_backward",
        "__ballot_sync(0xffffffffu, reaches)",
        "__ballot_sync(0x7fffffffu, reaches)",
        "not in its own mask 7fffffff",
    ),
    (
        "a shared count is not always written",
        "roi_align_deterministic_backward",
        "if (lane == 0) hit_counts[warp]",
        "if (lane == 0 && ballot != 0) hit_counts[warp]",
        "values differ|AddressSanitizer|runtime error",
    ),
    (
        "a box does not suppress its successor",
        "nms_ragged",
        "others & ~((Word(2) << better) - 1)",
        "others & ~((Word(4) << better) - 1)",
        "is not",
    ),
    (
        "a barrier is missing before it is decided who is kept",
        "nms_padded",
        "if (box == 0) race.gone[word] = ~others;\n      __syncthreads();",
        "if (box == 0) race.gone[word] = ~others;",
        "is not|AddressSanitizer",
    ),
    (
        "a loop over dynamic shared memory goes one too far",
        "nms_padded",
        "int64_t word = threadIdx.x; word < words;",
        "int64_t word = threadIdx.x; word <= words;",
        "AddressSanitizer: heap-buffer-overflow",
    ),
    (
        "a group's last box is left out",
        "nms_padded",
        "divide(division, place, high);",
        "divide(division, place, high - 1);",
        "is not",
    ),
    (
        "a reduction stops before its last step",
        "assign_targets",
        "step = 16; step > 0; step /= 2",
        "step = 16; step > 1; step /= 2",
        "gets row",
    ),
    (
        "threads without a box leave before a collective",
        "assign_targets",
        "  const Corners box = load(arguments.boxes + image * shape.box_stride + (is_there ? i : 0) * 4);",
        "  if (!is_there) return;\n  const Corners box = load(arguments.boxes + image * shape.box_stride + i * 4);",
        "which has returned or never was",
    ),
    (
        "vectors start where they may not",
        "copy_plain",
        "& 15u;",
        "& 7u;",
        "runtime error: .* misaligned address",
    ),
    (
        "a thread's loads in flight are one too many",
        "copy_plain",
        "i + (kInFlight - 1) * kThreads < count",
        "i + (kInFlight - 2) * kThreads < count",
        "AddressSanitizer: heap-buffer-overflow|values differ",
    ),
    (
        "threads share elements by a wrong stride",
        "copy_mapped",
        "index < piece.end; index += kThreads",
        "index < piece.end; index += kThreads + 1",
        "values differ",
    ),
]

# The same, for what an order of threads that comes up seldom or never here would show.
RACES = [
    (
        "gradients are added without atomics",
        "roi_align_backward",
        "atomicAdd(target + row.offset, sum);",
        "target[row.offset] += sum;",
        "race on global memory: thread .* of block number",
    ),
    (
        "the list of hits is read while others write it",
        "roi_align_deterministic_backward",
        "= int32_t(begin) + threadIdx.x;\n    __syncthreads();",
        "= int32_t(begin) + threadIdx.x;",
        "race on shared memory: thread .* of block number",
    ),
    (
        "a warp's sums are read before all lanes have written theirs",
        "roi_align_forward",
        "__syncwarp();\n          if (together > 0) {",
        "if (together > 0) {",
        "race on shared memory: thread .* of block number",
    ),
]


def worker_settings():
    """Environment of a process into which the sanitizers are loaded first."""
    asked = [["g++", f"-print-file-name={name}"] for name in ("libasan.so", "libubsan.so")]
    found = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in asked]
    return {
        **os.environ,
        "LD_PRELOAD": ":".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(CSRC),
        "SPNAS_KERNELS": "reference",
    }


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """What runs the first cases of a target on a library, and returns the exit code and what was written."""
    command = [sys.executable, str(HERE / "worker.py")]
    log = tmp_path_factory.mktemp("worker") / "log"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=worker_settings()
    ) as worker:

        def order(library, target, cases):
            worker.stdin.write(json.dumps([str(library), target, cases, str(log)]) + "\n")
            worker.stdin.flush()
            return int(worker.stdout.readline()), log.read_text()

        yield order
        worker.stdin.close()


each_target = pytest.mark.parametrize("target", TARGETS)


def each_of(faults):
    """A parameter per fault; each but the first compiles an operator anew, and waits until it is asked for."""
    rows = [
        pytest.param(*fault, id=fault[0], marks=[pytest.mark.fault] if place else [])
        for place, fault in enumerate(faults)
    ]
    return pytest.mark.parametrize(("name", "target", "text", "replacement", "finding"), rows)


@each_target
def test_random_cases_agree_with_the_reference(target, libraries, run):
    code, written = run(libraries(TARGETS[target]), target, CASES)
    assert code == 0, written[-4000:]
    assert f"{CASES} cases passed" in written


@each_target
def test_accesses_are_in_order(target, libraries, run):
    code, written = run(libraries(TARGETS[target], finds_races=True), target, CASES_FOR_RACES)
    assert code == 0, written[-4000:]
    assert f"{CASES_FOR_RACES} cases passed" in written


@each_of(FAULTS)
def test_a_planted_fault_is_found(name, target, text, replacement, finding, build, folder, run):
    fault = build.Fault(name, TARGETS[target], text, replacement)
    (folder / name).mkdir()
    code, written = run(build.build(fault.operator, folder / name, fault), target, CASES)
    assert code != 0, f"{CASES} cases passed all the same"
    assert re.search(finding, written), written[-4000:]


@each_of(RACES)
def test_a_planted_race_is_found(name, target, text, replacement, finding, build, folder, run):
    fault = build.Fault(name, TARGETS[target], text, replacement)
    (folder / name).mkdir()
    code, written = run(build.build(fault.operator, folder / name, fault, finds_races=True), target, CASES_FOR_RACES)
    assert code != 0, f"{CASES_FOR_RACES} cases passed all the same"
    assert re.search(finding, written), written[-4000:]


@pytest.mark.parametrize("fault", [*FAULTS, *RACES], ids=lambda fault: fault[0])
def test_what_a_fault_changes_is_there(fault, build, tmp_path):
    name, target, text, replacement, _ = fault
    build.stage(tmp_path, build.Fault(name, TARGETS[target], text, replacement))


def test_every_operator_has_faults(build):
    assert {TARGETS[target] for _, target, *_ in FAULTS} == set(build.OPERATORS) == set(TARGETS.values())
    assert set(build.OPERATORS) == {path.parent.name for path in CSRC.glob("*/device.cuh")}


@pytest.mark.parametrize("text", ["no such text", "const"])
def test_a_fault_whose_text_is_not_there_once_is_refused(text, build, tmp_path):
    with pytest.raises(ValueError, match="the text of the fault 'stale' is"):
        build.stage(tmp_path, build.Fault("stale", "nms_grouped", text, ""))
