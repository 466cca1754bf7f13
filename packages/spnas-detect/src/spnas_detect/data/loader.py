"""Batches for training and evaluation, reproducible from a seed and an epoch alone."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.errors import DataError
from spnas_detect.data.cache import CachedSplit
from spnas_detect.data.choosing import balanced_draw, repeat_factors, turns, with_objects
from spnas_detect.data.finishing import Photometry, finish
from spnas_detect.data.fitting import fitted_size
from spnas_detect.data.resizing import resize
from spnas_detect.data.scenes import Part, Scenes
from spnas_detect.data.targets import IGNORED, Targets, pad_targets, padded_rows

Augment = Callable[[Tensor, Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor, Tensor]]
"""(uint8[3, H, W], float32[G, 4], int64[G], rng) → the first three anew; draws from the generator only."""


class Batch(NamedTuple):
    """One step's worth of images, as bytes: they become what a network takes where it computes.

    Attributes:
        images: uint8[N, 3, H, W], each at the top left of its canvas.
        targets: their boxes; the number of rows is the same in all batches of a loader.
        indices: of the images in their split.
        photometry: how colours are distorted; None where they are not.
        channels_last: memory format of ``inputs``.
    """

    images: Tensor
    targets: Targets
    indices: tuple[int, ...]
    photometry: Photometry | None = None
    channels_last: bool = False

    def inputs(self) -> Tensor:
        """Make float32[N, 3, H, W]: distorted, normalised, zeros outside the images."""
        return finish(self.images, self.targets.sizes, self.photometry, channels_last=self.channels_last)

    def to(self, device: torch.device) -> "Batch":
        """Move all tensors; from pinned memory without waiting."""
        photometry = None if self.photometry is None else self.photometry.to(device)
        images = self.images.to(device, non_blocking=True)
        return self._replace(images=images, targets=self.targets.to(device), photometry=photometry)

    def pinned(self) -> "Batch":
        """Move all tensors to memory from which a copy to a GPU lets the host go on."""
        photometry = None if self.photometry is None else Photometry(*(part.pin_memory() for part in self.photometry))
        targets = Targets(*(part.pin_memory() for part in self.targets))
        return self._replace(images=self.images.pin_memory(), targets=targets, photometry=photometry)


_Size = tuple[int, int]
_Key = tuple[int, ...]
"""(epoch, image), and how often that came before in the epoch where it did."""

_Made = tuple[Tensor, list[dict[str, Tensor]], list[_Size]]
"""Images, boxes and labels of each, and (height, width) of each."""

_SHARE, _ORDER, _AUGMENT, _SIZE, _COLOURS, _SCENE, _, _HALF = range(8)  # separate streams of one seed
MOSAIC_IMAGES = 4


class Loader:
    """Batches of one cached split, whole or one process's part of them.

    Order follows from (seed, epoch), augmentation from (seed, epoch, image, how often it came before in the epoch), the
    canvas from (seed, epoch, step): none from the batch size, the number of processes, what was loaded before or any
    global random state, which is left as it was.

    Where some images have the transposed canvas, batches are of one canvas as far as that goes: an image goes into the
    batch of its canvas that is next, in the epoch's order, and what is left over at the end goes together, fitted into
    the split's own canvas. So there are as many batches as of one canvas, and no image is left out for its shape: where
    there is no room for all in whole batches, or in whole steps, those are left out that come last in the order.
    """

    def __init__(
        self,
        split: CachedSplit,
        *,
        batch_size: int,
        accumulate: int = 1,
        augmentation: Augment | None = None,
        photometric: bool = False,
        scenes: Scenes | None = None,
        shuffle: bool,
        seed: int,
        drop_last: bool | None = False,
        drop_empty: bool = False,
        share: float = 1.0,
        half: int | None = None,
        balance: float | None = None,
        channels_last: bool = False,
        image_sizes: Sequence[tuple[int, int]] | None = None,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int = 0,
        pin: bool = False,
    ) -> None:
        """Prepare the order of a split.

        Args:
            split: images and annotations.
            batch_size: images per batch of all processes together, at least 1.
            accumulate: batches of a step; those behind the last whole step, which a training leaves out, have the
                images that come last in the order.
            augmentation: applied to each image; None leaves images as cached.
            photometric: whether colours are distorted, see ``Photometry``.
            scenes: what fills whole canvases, see ``Scenes``; its images are augmented, too. None fills none.
            shuffle: whether each epoch has its own order.
            seed: of order, augmentation, share and canvases; not negative.
            drop_last: whether a last, smaller batch is left out; None where there is a whole one.
            drop_empty: whether images without a box that counts are left out, see ``with_objects``.
            share: of these images that are used in every epoch, above 0 and up to 1; drawn once by the seed, at least
                one image.
            half: 0 or 1 takes one half of these images, drawn by the seed: no image is in both. None takes all.
            balance: share of the images below which a class is rare, so that images with it come more often, and
                others less, see ``balanced_draw``; None shows each once per epoch. Needs ``shuffle``.
            channels_last: whether batches have the channels-last memory format.
            image_sizes: (width, height) of canvases in pixels, of which each step draws one, the same in all processes;
                None keeps the cached one. Images are resized from the cache, so a canvas larger than the cached one
                shows no more detail.
            rank: which of the processes this is, 0…world_size - 1.
            world_size: number of processes that train together; each gets an equal, consecutive part of every batch.
            prefetch: batches that are prepared ahead, each by a thread of its own; 0 prepares a batch when it is asked
                for. The batches are the same. It pays where a step leaves the processor idle, as on a GPU.
            pin: whether batches lie in pinned memory, for a GPU.

        Raises:
            DataError: a setting out of its range, no batch at all, or batches that cannot be cut into equal parts.
        """
        if batch_size < 1:
            raise DataError(f"batch_size is {batch_size}: it must be at least 1")
        if seed < 0:
            raise DataError(f"the loader's seed is {seed}: it must not be negative")
        if not 0 < share <= 1:
            raise DataError(f"share is {share!r}: it must be above 0 and up to 1")
        if not 0 <= rank < world_size:
            raise DataError(f"rank is {rank} of {world_size} process(es): it must be in 0…{world_size - 1}")
        if prefetch < 0:
            raise DataError(f"prefetch is {prefetch}: it must not be negative")
        if image_sizes is not None and not (image_sizes and min(map(min, image_sizes)) >= 1):
            raise DataError(f"image_sizes is {image_sizes!r}: it must hold a (width, height) of at least 1 pixel each")
        self._split = split
        self._batch_size = batch_size
        self._accumulate = accumulate
        self._augmentation = augmentation
        self._shuffle = shuffle
        self._seed = seed
        self._channels_last = channels_last
        self._image_sizes = None if image_sizes is None else tuple(image_sizes)
        self._rank = rank
        self._world_size = world_size
        self._prefetch = prefetch
        self._photometric = photometric
        self._pin = pin
        self._scenes = scenes
        self._transposed: NDArray[np.bool_] = np.fromiter(map(split.is_transposed, range(len(split))), np.bool_)
        self._indices: NDArray[np.int64] = with_objects(split) if drop_empty else np.arange(len(split))
        if share < 1 and len(self._indices):
            count = max(1, round(share * len(self._indices)))
            drawn = np.random.default_rng([seed, _SHARE]).permutation(self._indices)[:count]
            self._indices = np.sort(drawn)
        if half is not None:
            drawn = np.random.default_rng([seed, _HALF]).permutation(self._indices)[half::2]
            self._indices = np.sort(drawn)
        self._drop_last = len(self._indices) >= batch_size if drop_last is None else drop_last
        if len(self) == 0:
            raise DataError(f"{len(self._indices)} images make no batch of {batch_size}: lower batch_size")
        self._check_parts()
        self._factors = None if balance is None else repeat_factors(split, self._indices, balance)
        most = max(len(split.labels(index)) for index in self.indices)
        self._rows = padded_rows(most * MOSAIC_IMAGES if scenes is not None and scenes.mosaic else most)

    def _check_parts(self) -> None:
        if self._accumulate < 1:
            raise DataError(f"accumulate is {self._accumulate}: it must be at least 1")
        rest = len(self._indices) % self._batch_size
        if len(self._indices) >= self._batch_size and self._batch_size % self._world_size:
            raise DataError(
                f"batch_size {self._batch_size} cannot be cut into {self._world_size} equal parts, one per process: "
                f"make it a multiple of {self._world_size}"
            )
        if rest and not self._drop_last and rest % self._world_size:
            raise DataError(
                f"the last batch holds {rest} of {len(self._indices)} images, which cannot be cut into "
                f"{self._world_size} equal parts, one per process: leave it out (drop_last), or change batch_size"
            )

    @property
    def indices(self) -> tuple[int, ...]:
        """The images of the split that every epoch uses, ascending."""
        return tuple(self._indices.tolist())

    def __len__(self) -> int:
        """Count the batches per epoch."""
        whole, rest = divmod(len(self._indices), self._batch_size)
        return whole + (1 if rest and not self._drop_last else 0)

    def order(self, epoch: int) -> list[int]:
        """Return the images of an epoch in their order, before batches and parts are cut."""
        if not self._shuffle:
            return list(self.indices)
        rng = np.random.default_rng([self._seed, _ORDER, epoch])
        drawn = self._indices if self._factors is None else balanced_draw(self._indices, self._factors, rng)
        order: list[int] = (rng.permutation(drawn) if self._factors is None else drawn).tolist()
        return order

    def canvas(self, epoch: int, batch: int) -> tuple[int, int] | None:
        """Return the (width, height) that a batch is resized to, None for the cached one.

        A batch of transposed canvases takes that transposed.
        """
        if self._image_sizes is None:
            return None
        rng = np.random.default_rng([self._seed, _SIZE, epoch, batch])
        return self._image_sizes[int(rng.integers(len(self._image_sizes)))]

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the images of each batch of an epoch, those of all processes together."""
        order = self.order(epoch)
        return [[order[place] for place in batch] for batch in self._places(order)]

    def _places(self, order: Sequence[int]) -> list[list[int]]:
        """Cut an epoch's order into batches, of one canvas as far as that goes; returns places in the order."""
        places, count = list(range(len(order)))[: len(self) * self._batch_size], len(self)
        steps = count // self._accumulate * self._accumulate or count
        used = steps * self._batch_size
        return [*self._grouped(order, places[:used]), *self._grouped(order, places[used:])]

    def _grouped(self, order: Sequence[int], places: Sequence[int]) -> list[list[int]]:
        """Cut places into batches, of one canvas as far as that goes."""
        size, rest = self._batch_size, places
        found: list[list[int]] = []
        if self._transposed.any():
            waiting: dict[bool, list[int]] = {False: [], True: []}
            for place in places:
                mine = waiting[bool(self._transposed[order[place]])]
                mine.append(place)
                if len(mine) == size:
                    found.append(mine.copy())
                    mine.clear()
            rest = sorted(place for one in waiting.values() for place in one)
        return found + [list(rest[start : start + size]) for start in range(0, len(rest), size)]

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """Iterate over this process's part of the batches of an epoch.

        Args:
            epoch: at least 0; each has its own order and augmentation.
            first_batch: where to begin, 0…len(self); earlier batches are not read, and later ones are the same as
                without it.

        Yields:
            The batches. An image lies at the top left of its canvas; augmentation moves it inside the part that it
            occupies there.

        Raises:
            DataError: first_batch is out of its range.
        """
        if not 0 <= first_batch <= len(self):
            raise DataError(f"first_batch is {first_batch}: it must be in 0…{len(self)}, the batches of an epoch")
        order = self.order(epoch)
        make = partial(self._batch, order, turns(order), self._places(order), epoch)
        numbers = range(first_batch, len(self))
        if not self._prefetch:
            for number in numbers:
                with _one_thread():
                    batch = make(number)
                yield batch
            return
        yield from _prefetched(make, numbers, self._prefetch)

    def _batch(
        self, order: Sequence[int], repeats: Sequence[int], batches: Sequence[Sequence[int]], epoch: int, number: int
    ) -> Batch:
        whole = batches[number]
        part = len(whole) // self._world_size
        places = whole[self._rank * part : (self._rank + 1) * part]
        indices = [order[place] for place in places]
        keys = [(epoch, order[place], *((repeats[place],) if repeats[place] else ())) for place in places]
        canvas = self._canvas_of([order[place] for place in whole], self.canvas(epoch, number))
        make = self._plain if self._scenes is None else partial(self._filled, self._scenes, order)
        images, targets, sizes = make(indices, keys, canvas)
        photometry = None
        if self._photometric:
            photometry = Photometry.draw([self._stream(_COLOURS, key) for key in keys])
        batch = Batch(images, pad_targets(targets, sizes, self._rows), tuple(indices), photometry, self._channels_last)
        return batch.pinned() if self._pin else batch

    def _plain(self, indices: Sequence[int], keys: Sequence[_Key], canvas: _Size | None) -> _Made:
        """Put each image at the top left of its canvas, augmented in its own size."""
        cached = self._split.images(indices)
        images = cached if canvas is None else cached.new_zeros(len(indices), 3, canvas[1], canvas[0])
        targets, sizes = [], []
        for position, (index, key) in enumerate(zip(indices, keys, strict=True)):
            rng = self._stream(_AUGMENT, key)
            image, boxes, labels = self._sample(cached[position], index, canvas, self._augmentation, rng)
            height, width = image.shape[-2:]
            images[position, :, :height, :width] = image
            targets.append({"boxes": boxes, "labels": labels})
            sizes.append((height, width))
        return images, targets, sizes

    def _filled(
        self, scenes: Scenes, order: Sequence[int], indices: Sequence[int], keys: Sequence[_Key], canvas: _Size | None
    ) -> _Made:
        """Fill whole canvases; images are read one at a time, so that there is no second batch of them."""
        shape = self._split.images(indices[:1]).shape[-2:] if canvas is None else (canvas[1], canvas[0])
        images = torch.zeros(len(indices), 3, *shape, dtype=torch.uint8)
        targets, sizes = [], []
        for position, (index, key) in enumerate(zip(indices, keys, strict=True)):
            rng = self._stream(_SCENE, key)
            count = scenes.images(key[0], rng)
            if count:
                shown = [index, *(order[place] for place in rng.integers(len(order), size=count - 1))]
                parts = (self._sample(self._read(one), one, canvas, scenes.augmentation, rng) for one in shown)
                boxes, labels = scenes.compose(images[position], count, parts, rng)
                sizes.append((shape[0], shape[1]))
            else:
                rng = self._stream(_AUGMENT, key)
                image, boxes, labels = self._sample(self._read(index), index, canvas, self._augmentation, rng)
                height, width = image.shape[-2:]
                images[position, :, :height, :width] = image
                sizes.append((height, width))
            targets.append({"boxes": boxes, "labels": labels})
        return images, targets, sizes

    def _read(self, index: int) -> Tensor:
        """Read uint8[3, H, W]: one image on its canvas."""
        return self._split.images([index])[0]

    def _stream(self, kind: int, key: _Key) -> np.random.Generator:
        """Return what decides one thing for one image of an epoch."""
        return np.random.default_rng([self._seed, kind, *key])

    def _canvas_of(self, whole: Sequence[int], drawn: tuple[int, int] | None) -> tuple[int, int] | None:
        """Return the (width, height) that a whole batch is resized to; None where its images lie in theirs already."""
        transposed = self._transposed[whole]
        if transposed.all():
            return None if drawn is None else drawn[::-1]
        return self._split.canvas if drawn is None and transposed.any() else drawn

    def _sample(
        self, cached: Tensor, index: int, canvas: _Size | None, augmentation: Augment | None, rng: np.random.Generator
    ) -> Part:
        """Make uint8[3, h, w], the part of its canvas that an image occupies, with boxes and labels."""
        width, height = self._split.resized(index)
        image, boxes = cached[:, :height, :width], self._split.canvas_boxes(index)
        labels = torch.where(self._split.ignore(index), IGNORED, self._split.labels(index))
        if canvas is not None:
            fitted = fitted_size((width, height), canvas)  # where that is its size already, nothing happens
            image = resize(image, *fitted)
            boxes *= torch.tensor([fitted[0] / width, fitted[1] / height] * 2)
        boxes = boxes.minimum(boxes.new_tensor([image.shape[-1], image.shape[-2]] * 2))  # to the last bit
        return (image, boxes, labels) if augmentation is None else augmentation(image, boxes, labels, rng)


def _prefetched(make: Callable[[int], Batch], numbers: Sequence[int], ahead: int) -> Iterator[Batch]:
    """Make batches in background threads, and give them out in their order."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(ahead, "spnas-loader", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[Batch]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)  # what threads that start later take theirs from


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
