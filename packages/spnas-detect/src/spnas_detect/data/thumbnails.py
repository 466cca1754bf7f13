"""Classification images of one small size, decoded once and kept as one array beside the other caches."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional

from spnas_core.durable import replace_durably
from spnas_core.errors import DataError
from spnas_detect.data.image_folder import CLASSIFICATION_SPLITS, ClassificationData

BORDER = 8
"""Thumbnails are stored larger by one BORDER-th of their side, so that training can cut them out at random."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Images of one split.

    Attributes:
        images: uint8[N, 3, S, S], RGB, mapped from disk.
        labels: int64[N] in 0…C-1.
    """

    images: NDArray[np.uint8]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Tensor:
        """Return uint8[n, 3, S, S]."""
        return torch.from_numpy(np.array(self.images[indices.numpy()]))


@dataclass(frozen=True, eq=False)
class ThumbnailData:
    """Both splits.

    Attributes:
        classes: names of the labels.
        splits: ``train`` and ``validation``.
    """

    classes: tuple[str, ...]
    splits: dict[str, Thumbnails]


def cache_thumbnails(
    data: ClassificationData, cache: Path, side: int, progress: Progress | None = None
) -> ThumbnailData:
    """Decode and resize all images, or take those of the cache.

    Aspect ratios are not kept. Several processes may do this at a time: a finished folder is complete.

    Args:
        data: the images.
        cache: folder of caches.
        side: of what training sees, in pixels.
        progress: called with (done, total).

    Raises:
        DataError: an image cannot be read, or the disk is full.
    """
    stored = side + side // BORDER
    folder = cache / f"thumbnails-{data.fingerprint[:16]}-{stored}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done, total = 0, sum(len(data.splits[split]) for split in CLASSIFICATION_SPLITS)
        for split in CLASSIFICATION_SPLITS:
            labels = [image.label for image in data.splits[split]]
            if not (folder / f"{split}.json").exists():
                pixels = np.empty((len(labels), 3, stored, stored), np.uint8)
                for place, image in enumerate(data.splits[split]):
                    whole = torch.from_numpy(np.array(image.read())).permute(2, 0, 1)
                    pixels[place] = functional.resize(whole, [stored, stored], antialias=True).numpy()
                    if progress is not None:
                        progress(done + place + 1, total)
                _store(folder, split, pixels, labels)
            done += len(labels)
    except OSError as error:
        raise DataError(f"the cache {folder} cannot be written: {error}; free some space, or name another") from error
    return ThumbnailData(data.classes, {split: _open(folder, split) for split in CLASSIFICATION_SPLITS})


def _store(folder: Path, split: str, pixels: NDArray[np.uint8], labels: list[int]) -> None:
    """Write pixels, then what says that they are complete."""
    for name, write in (
        (f"{split}.npy", lambda path: np.save(path, pixels)),
        (f"{split}.json", lambda path: path.write_text(json.dumps(labels), encoding="utf-8")),
    ):
        unfinished = folder / f".{np.random.default_rng().integers(2**62)}-{name}"
        write(unfinished)
        replace_durably(unfinished, folder / name)


def _open(folder: Path, split: str) -> Thumbnails:
    labels = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
    pixels = np.load(folder / f"{split}.npy", mmap_mode="r")
    return Thumbnails(pixels, torch.tensor(labels, dtype=torch.int64))
