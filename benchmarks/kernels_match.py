"""spnas_kernels.match_detections against its plain-NumPy reference, pair by pair in one process."""

import numpy as np
import torch

from pairs import Row, compare
from spnas_kernels import match_detections
from spnas_kernels.references import match_detections as reference

IMAGES, DETECTIONS, TRUTHS = 200, 100, 10  # what the reference does in a fifth of a second


def data_set(images: int) -> dict[str, np.ndarray]:
    """Detections around the truths of every image, some of them ignored and some regions."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 800, (images * TRUTHS, 2))
    truths = np.concatenate([corners, corners + rng.uniform(20, 200, (images * TRUTHS, 2))], axis=1)
    near = np.arange(images)[:, None] * TRUTHS + rng.integers(0, TRUTHS, (images, DETECTIONS))
    detections = truths[near.ravel()] + rng.normal(0, 4, (images * DETECTIONS, 4)).clip(-9, 9)
    ignored = rng.random(len(truths)) < 0.2
    return {
        "detections": detections,
        "scores": rng.random(len(detections)),
        "detection_images": np.repeat(np.arange(images), DETECTIONS),
        "truths": truths,
        "truth_images": np.repeat(np.arange(images), TRUTHS),
        "ignored": ignored,
        "regions": ignored & (rng.random(len(truths)) < 0.5),
    }


def rows(_: str = "cpu") -> list[Row]:
    """Measure both policies with one thread and with all."""
    found = []
    arguments = data_set(IMAGES)
    for policy in ("best-unmatched", "best-then-flag"):
        for threads in dict.fromkeys((1, torch.get_num_threads())):

            def ours(policy: str = policy, threads: int = threads) -> object:
                return match_detections(**arguments, policy=policy, threads=threads)

            def theirs(policy: str = policy) -> object:
                return reference.match(*arguments.values(), 0.5, True, 0.0, policy == "best-then-flag")

            name = (
                f"{policy}, {IMAGES} images × {DETECTIONS} detections × {TRUTHS} truths, "
                f"{threads} {'thread' if threads == 1 else 'threads'}"
            )
            found.append(compare(name, ours, theirs, repeats=7))
    return found
