"""Runs random cases of a target on a library of emulated kernels, in processes that AddressSanitizer may end.

It reads orders from its input, a line of JSON each: library, target, number of cases, and the file that gets what the
process writes. Each order is carried out in a fork, since importing torch takes longer than most of them; what is
answered is the exit code.
"""

import json
import os
import random
import sys
import traceback
from pathlib import Path

import box_cases
import copy_cases
import device
import pooling_cases
import torch

TARGETS = {
    function.__name__: function
    for function in (
        pooling_cases.roi_align_forward,
        pooling_cases.roi_align_backward,
        pooling_cases.roi_align_deterministic_backward,
        box_cases.nms_ragged,
        box_cases.nms_padded,
        box_cases.assign_targets,
        copy_cases.copy_plain,
        copy_cases.copy_mapped,
    )
}


def carry_out(path: str, target: str, cases: int) -> None:
    library = device.load(Path(path))
    for seed in range(cases):
        print(f"{target}, case {seed}", flush=True)
        torch.manual_seed(seed)
        TARGETS[target](library, random.Random(seed), seed)
    print(f"{cases} cases passed", flush=True)


def carry_out_apart(path: str, target: str, cases: int, log: str) -> int:
    """Carry out an order in a process of its own and return its exit code."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        carry_out(path, target, cases)
        code = 0
    except AssertionError:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(carry_out_apart(*json.loads(line)), flush=True)
    os._exit(0)  # under AddressSanitizer, Python takes long to clear up
