"""Runs random cases of one target on a library of emulated kernels, in a process that AddressSanitizer may end.

python worker.py LIBRARY TARGET FIRST COUNT
"""

import random
import sys
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


def main(path: str, target: str, first: str, count: str) -> None:
    torch.set_num_threads(1)
    library = device.load(Path(path))
    for seed in range(int(first), int(first) + int(count)):
        print(f"{target}, case {seed}", flush=True)
        torch.manual_seed(seed)
        TARGETS[target](library, random.Random(seed), seed)
    print(f"{count} cases passed", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
