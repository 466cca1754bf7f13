"""The emulated device itself: kernels that it must run, and mistakes that it must not let pass."""

import os
import re
import subprocess

import pytest

pytestmark = pytest.mark.slow

RIGHT = [
    "sums_are_reduced",
    "collectives_exchange",
    "every_thread_of_three_dimensions_runs_once",
    "who_has_returned_is_not_waited_for",
    "asynchronous_copies_arrive",
    "halves_round_to_nearest_even",
    "functions_of_one_thread_are_cudas",
]
WRONG = {
    "diverge_at_barriers": "divergent barrier: thread 0 waits at machine_checks.cpp",
    "diverge_at_collectives": "deadlock: thread 0 waits in __shfl_sync",
    "name_returned_lanes": "names lane 1 in its mask ffffffff, which has returned or never was",
    "read_outside_of_the_mask": "reads lane 8, which is not in the mask 000000ff",
    "leave_oneself_out": "thread 0 is not in its own mask fffffffe",
    "overflow_shared": "insufficient space|AddressSanitizer: global-buffer-overflow",
    "overflow_dynamic": "insufficient space|AddressSanitizer: heap-buffer-overflow",
    "overflow_own_array": "insufficient space|AddressSanitizer: stack-buffer-overflow",
    "misalign": "runtime error: .* misaligned address",
    "copy_without_waiting": "not value == 1",
    "trust_fresh_shared_memory": "not value == 1",
    "pass_on_without_a_barrier": "not value == 1",
    "too_many_threads": "a block has 1025 threads",
    "no_blocks": "a grid of 0 x 1 x 1 blocks is not possible",
}


def run(program, check):
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run([program, check], capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("check", RIGHT)
def test_kernels_run(checks, check):
    result = run(checks, check)
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout == "passed\n"


@pytest.mark.parametrize("check", WRONG)
def test_mistakes_end_the_process(checks, check):
    result = run(checks, check)
    assert result.returncode != 0, result.stdout
    assert re.search(WRONG[check], result.stderr), result.stderr[-4000:]


def test_dynamic_shared_memory_is_rewritten(build):
    for declared, name in (
        ("Word", "removed"),
        ("__align__(16) unsigned char", "bytes"),
        ("alignas(16) float4", "row"),
    ):
        plain = declared.rpartition(") ")[2]
        written = build.DYNAMIC_SHARED.sub(
            r"SPNAS_DYNAMIC_SHARED(\1, \2);", f"  extern __shared__ {declared} {name}[];"
        )
        assert written == f"  SPNAS_DYNAMIC_SHARED({plain}, {name});"
