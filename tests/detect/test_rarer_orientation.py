"""Images of the rarer orientation are trained as others are, and what is measured at first is measured on the usual."""

import itertools

import pytest
import torch

from spnas_detect.data import Loader
from spnas_detect.training.calibration import first_images


class Mixed:
    """So many images, of which the first ones stand."""

    canvas = (96, 64)

    def __init__(self, lying, standing):
        self.lying, self.standing = lying, standing

    def __len__(self):
        return self.lying + self.standing

    def is_transposed(self, index):
        return index < self.standing

    def labels(self, _):
        return torch.ones(1, dtype=torch.int64)

    def resized(self, _):
        return (96, 64)

    def images(self, indices):
        return torch.zeros(len(indices), 3, 64, 96, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("lying", "standing", "size", "accumulate"),
    [
        *itertools.product((32, 33, 39), (1, 3, 5), (8,), (1,)),
        *itertools.product((33, 39), (1, 3, 5), (4,), (4,)),
        (5, 2, 8, 4),
    ],
)
def test_every_image_is_trained_in_some_epoch(lying, standing, size, accumulate):
    options = {"batch_size": size, "accumulate": accumulate, "shuffle": True, "seed": 0, "drop_last": None}
    loader = Loader(Mixed(lying, standing), **options)
    steps = max(1, len(loader) // accumulate)
    seen = set()
    for epoch in range(60):
        batches = loader.batches(epoch)
        assert len(batches) == len(loader)
        assert all(len(batch) == size for batch in batches) or len(loader) == 1
        whole = batches[: steps * accumulate]
        seen.update(index for batch in whole for index in batch)
        used = loader.order(epoch)[: sum(map(len, whole))]
        assert sorted(index for batch in whole for index in batch) == sorted(used)
    assert seen == set(range(lying + standing))


def test_batches_are_of_one_canvas_as_far_as_that_goes():
    loader = Loader(Mixed(27, 13), batch_size=8, shuffle=True, seed=0, drop_last=None)
    for epoch in range(5):
        mixed = [batch for batch in loader.batches(epoch) if len({index < 13 for index in batch}) > 1]
        assert len(mixed) == 1


@pytest.mark.parametrize(("lying", "standing", "found"), [(20, 1, 20), (3, 9, 9), (4, 4, 4), (70, 2, 64)])
def test_what_is_measured_at_first_is_measured_on_the_canvas_that_most_images_have(lying, standing, found):
    assert len(first_images(Mixed(lying, standing), 64, torch.device("cpu"))) == found
