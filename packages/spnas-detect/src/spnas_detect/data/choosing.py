"""Which training images an epoch has, and how often each."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_Ints = NDArray[np.int64]


class Annotated(Protocol):
    """What is asked of a split: the boxes of its images, without their pixels."""

    def __len__(self) -> int:
        """Count the images."""

    def labels(self, index: int) -> Tensor:
        """Return an image's labels as int64[G] in 1…C."""

    def ignore(self, index: int) -> Tensor:
        """Return bool[G], True where a box does not count."""

    def objects(self) -> list[int]:
        """Count the boxes of every image that are not ignored."""


def with_objects(split: Annotated) -> _Ints:
    """Return int64[K], ascending: the images that have a box that counts.

    Detectron2's ``filter_images_with_only_crowd_annotations``. torchvision's reference keeps images that have nothing
    but crowds, too, since it filters before it takes these out, and leaves out those whose boxes all have a side of a
    pixel or less.
    """
    return np.flatnonzero(np.asarray(split.objects(), np.int64))


def repeat_factors(split: Annotated, indices: Sequence[int] | _Ints, threshold: float) -> NDArray[np.float64]:
    """Say how much more often than a common image each one is shown.

    A class c is in a share f_c of the images; its factor is r_c = max(1, √(t / f_c)), and an image's is the greatest of
    its classes', 1 without any. Gupta, Dollár, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation",
    appendix B.

    Args:
        split: of the images.
        indices: the images that are used.
        threshold: t, the share of images below which a class is rare, above 0, at most 1.

    Returns:
        float64[K] of at least 1, in the order of the indices.

    Example: of four images with classes {1}, {1}, {1} and {1, 2}, and t = 1, the classes are in shares 1 and ¼; the
    factors are 1, 1, 1 and √(1 / ¼) = 2.
    """
    classes = [np.unique(split.labels(int(i))[~split.ignore(int(i))].numpy()) for i in indices]
    found = np.concatenate([np.zeros(0, np.int64), *classes])
    shares = np.bincount(found) / max(1, len(classes))
    of_class = np.maximum(1.0, np.sqrt(threshold / np.maximum(shares, np.finfo(np.float64).tiny)))
    return np.array([of_class[one].max(initial=1.0) for one in classes])


def balanced_draw(indices: _Ints, factors: NDArray[np.float64], rng: np.random.Generator) -> _Ints:
    """Draw as many images as there are, each in proportion to its factor, in a random order.

    An epoch stays as long as it was, and with it the schedule: where rare images come more often, common ones come
    less than once. An image that is due x times comes ⌊x⌋ or ⌈x⌉ times (systematic sampling).

    Args:
        indices: int64[K], the images.
        factors: float64[K], above 0.
        rng: decides everything.

    Returns:
        int64[K].
    """
    places = rng.permutation(len(indices))
    ends = np.cumsum(factors[places])
    ends *= len(indices) / ends[-1]
    drawn = np.searchsorted(ends, rng.random() + np.arange(len(indices)), side="right")
    chosen: _Ints = indices[places[np.minimum(drawn, len(indices) - 1)]]
    return rng.permutation(chosen)


def turns(order: Sequence[int]) -> list[int]:
    """Say of each place of an order how often its image came before."""
    seen: dict[int, int] = {}
    found = []
    for index in order:
        found.append(seen.get(index, 0))
        seen[index] = found[-1] + 1
    return found
