"""Classification images of one small size, decoded once and kept as one array beside the other caches."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spnas_detect.data._base import fingerprint
from spnas_detect.data.cache.files import INDEX, PixelFile, construction, pixel_bytes, publish, unwritable
from spnas_detect.data.cache.seals import check_sealed, seal
from spnas_detect.data.image_folder import CLASSIFICATION_SPLITS, ClassificationData
from spnas_detect.data.resizing import resize

_VERSION = 2  # part of the folder's name: raise it when the layout, the decoding or the resizing changes

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
    data: ClassificationData, folder: Path, side: int, progress: Progress | None = None
) -> ThumbnailData:
    """Decode and resize all images, or reuse a cache of the same content; aspect ratios are not kept.

    Args:
        data: the images.
        folder: the parent of the cache's own folder.
        side: of what training sees, in pixels.
        progress: called with (done, total).

    Raises:
        DataError: an image cannot be read, a damaged cache under the same name, or no space to write into.
    """
    stored = side + side // BORDER
    name = f"thumbnails-{fingerprint([_VERSION, data.fingerprint, stored])[:16]}"
    final = folder / name
    if not final.exists():
        try:
            with construction(folder, name) as building:
                _write(data, building, stored, progress)
                seal(building)
                publish(building, final)
        except OSError as error:
            needed = pixel_bytes(sum(map(len, data.splits.values())), (stored, stored))
            raise unwritable(folder, needed, error) from error
    check_sealed(final)
    labels = json.loads((final / INDEX).read_text(encoding="utf-8"))
    return ThumbnailData(
        data.classes,
        {
            split: Thumbnails(np.load(final / f"{split}.npy", mmap_mode="r"), torch.tensor(labels[split]))
            for split in CLASSIFICATION_SPLITS
        },
    )


def _write(data: ClassificationData, folder: Path, side: int, progress: Progress | None) -> None:
    done, total, labels = 0, sum(map(len, data.splits.values())), {}
    for split in CLASSIFICATION_SPLITS:
        images = data.splits[split]
        with PixelFile(folder / f"{split}.npy", len(images), (side, side)) as file:
            for place, image in enumerate(images):
                whole = torch.from_numpy(np.array(image.read())).permute(2, 0, 1)
                file.write(place, resize(whole, side, side))
                done += 1
                if progress is not None:
                    progress(done, total)
        labels[split] = [image.label for image in images]
    (folder / INDEX).write_text(json.dumps(labels), encoding="utf-8")
