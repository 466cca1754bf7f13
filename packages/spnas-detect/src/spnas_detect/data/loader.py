"""Batches for training and evaluation, reproducible from a seed and an epoch alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.errors import DataError
from spnas_detect.data.cache import CachedSplit

MEAN = (0.485, 0.456, 0.406)
"""Subtracted from RGB in 0…1: the mean of ImageNet, as pretrained backbones expect."""

STD = (0.229, 0.224, 0.225)
"""Divides what remains: the standard deviation of ImageNet."""

Augment = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""(uint8[3, H, W], float32[G, 4], int64[G]) → the same; draws from torch's global random state."""

Batch = tuple[Tensor, list[dict[str, Tensor]]]

_SHARE, _ORDER, _AUGMENT = range(3)  # separate streams of one seed


def normalize(images: Tensor, *, channels_last: bool = False) -> Tensor:
    """Turn uint8[B, 3, H, W] into float32 with MEAN and STD taken out, on the images' device."""
    mean = torch.tensor(MEAN, device=images.device).view(3, 1, 1) * 255
    std = torch.tensor(STD, device=images.device).view(3, 1, 1) * 255
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.to(torch.float32, memory_format=layout).sub_(mean).div_(std)


class Loader:
    """Batches of one cached split.

    Order and augmentation follow from (seed, epoch) and the image, not from the batch size, and the caller's
    random state is left as it was.
    """

    def __init__(
        self,
        split: CachedSplit,
        *,
        batch_size: int,
        augmentation: Augment | None = None,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        share: float = 1.0,
        channels_last: bool = False,
    ) -> None:
        """Prepare the order of a split.

        Args:
            split: images and annotations.
            batch_size: images per batch, at least 1.
            augmentation: applied to each image; None leaves images as cached.
            shuffle: whether each epoch has its own order.
            seed: of order, augmentation and share; not negative.
            drop_last: whether a last, smaller batch is left out.
            share: of the split's images that are used in every epoch, above 0 and up to 1; drawn once by the
                seed, at least one image.
            channels_last: whether batches have the channels-last memory format.

        Raises:
            DataError: a setting out of its range, or no batch at all.
        """
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}: it must be at least 1")
        if seed < 0:
            raise DataError(f"the loader's seed is {seed}: it must not be negative")
        if not 0 < share <= 1:
            raise DataError(f"share is {share!r}: it must be above 0 and up to 1")
        self._split = split
        self._batch_size = batch_size
        self._augmentation = augmentation
        self._shuffle = shuffle
        self._seed = seed
        self._drop_last = drop_last
        self._channels_last = channels_last
        self._indices: NDArray[np.int64] = np.arange(len(split))
        if share < 1 and len(split):
            count = max(1, round(share * len(split)))
            drawn = np.random.default_rng([seed, _SHARE]).permutation(len(split))[:count]
            self._indices = np.sort(drawn)
        if len(self) == 0:
            raise DataError(f"{len(self._indices)} images make no batch of {batch_size}: lower batch_size")

    @property
    def indices(self) -> tuple[int, ...]:
        """The images of the split that every epoch uses, ascending."""
        return tuple(self._indices.tolist())

    def __len__(self) -> int:
        """Count the batches per epoch."""
        whole, rest = divmod(len(self._indices), self._batch_size)
        return whole + (1 if rest and not self._drop_last else 0)

    def order(self, epoch: int) -> list[int]:
        """Return the images of an epoch in their order, before batches are cut."""
        if not self._shuffle:
            return list(self.indices)
        rng = np.random.default_rng([self._seed, _ORDER, epoch])
        order: list[int] = rng.permutation(self._indices).tolist()
        return order

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Iterate over the batches of an epoch.

        Args:
            epoch: at least 0; each has its own order and augmentation.

        Yields:
            Images as float32[B, 3, H, W], normalised; and per image a dict of ``boxes``, float32[G, 4] of
            (x1, y1, x2, y2) in canvas pixels, and ``labels``, int64[G] in 1…C. Ignored boxes are left out.
        """
        order = self.order(epoch)
        for batch in range(len(self)):
            indices = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            images = self._split.images(indices)
            targets: list[dict[str, Tensor]] = []
            with _one_thread():
                for position, index in enumerate(indices):
                    image, target = self._sample(images[position], index, epoch)
                    images[position] = image
                    targets.append(target)
            yield normalize(images, channels_last=self._channels_last), targets

    def _sample(self, image: Tensor, index: int, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        counted = ~self._split.ignore(index)
        boxes, labels = self._split.canvas_boxes(index)[counted], self._split.labels(index)[counted]
        if self._augmentation is not None:
            with _torch_seed(self._seed, _AUGMENT, epoch, index):
                image, boxes, labels = self._augmentation(image, boxes, labels)
        return image, {"boxes": boxes, "labels": labels}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread for a while.

    One image is too small to share out: on two cores that other processes use too, the threads' waiting for
    each other made torchvision's photometric distortion of 320x240 pixels take 370 ms instead of 6 ms.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _torch_seed(*entropy: int) -> Iterator[None]:
    """Seed torch's CPU generator for a while; the states of devices are never touched."""
    state = torch.get_rng_state()
    seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
