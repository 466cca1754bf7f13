"""The fingerprint of what training and scoring see, wherever the data lies and whoever has decoded it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas_detect.data._base import SPLITS
from spnas_detect.data.canvases import Orientation
from spnas_detect.data.fitting import FittedRecord

_BYTES = 32


@dataclass(frozen=True, eq=False)
class CachedImage:
    """An image that was written to the cache.

    Attributes:
        fitted: how it lies in its canvas.
        digest: of its pixels.
    """

    fitted: FittedRecord
    digest: bytes


def pixel_digest(image: NDArray[np.uint8]) -> bytes:
    """Digest an image as decoded.

    Not as resized: the last bit of that depends on the processor's instruction sets, and a run may change machines.
    """
    return blake2b(np.ascontiguousarray(image).data, digest_size=_BYTES).digest()


def content_digest(
    classes: Sequence[str],
    image_size: tuple[int, int],
    splits: Mapping[str, Sequence[CachedImage]],
    orientation: Orientation = "fixed",
) -> str:
    """Digest classes, canvas, and of each image the split, name, pixels and annotations.

    Nothing enters that depends on where the data lies, on the times of files, on the form of the cache, or on what
    finished first.

    Args:
        classes: names of the labels 1…C.
        image_size: (width, height) of the canvas.
        splits: images in the order of the data set.
        orientation: whether there is a transposed canvas, too.

    Returns:
        64 hexadecimal digits.
    """
    digest = blake2b(digest_size=_BYTES)

    def add(part: bytes) -> None:  # with its length, so that no two sequences of parts read alike
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)

    of_canvas = [list(classes), list(image_size)]
    add(json.dumps(of_canvas if orientation == "fixed" else [*of_canvas, orientation]).encode())
    for split in SPLITS:
        add(json.dumps([split, len(splits[split])]).encode())
        for image in splits[split]:
            for part in _parts(image):
                add(part)
    return digest.hexdigest()


def _parts(image: CachedImage) -> tuple[bytes, ...]:
    fitted = image.fitted
    record, kept = fitted.record, fitted.kept
    tags = [list(tags) for tags, is_kept in zip(record.tags, kept, strict=False) if is_kept]
    return (
        json.dumps([record.name, list(fitted.size), tags]).encode(),
        _bytes(fitted.boxes, "<f4"),
        _bytes(record.labels[kept], "<i8"),
        _bytes(record.ignore[kept], "|b1"),
        image.digest,
        *_of_few(fitted),
    )


def _of_few(fitted: FittedRecord) -> Iterator[bytes]:
    """Yield what few data sets have, each part with its name; the others keep the digest that they would have."""
    if fitted.record.own_boxes is not None:
        yield b"own_boxes" + _bytes(fitted.own_boxes, "<f4")
    if fitted.record.areas is not None:
        yield b"areas" + _bytes(fitted.areas, "<f8")


def _bytes(values: NDArray[Any], kind: str) -> bytes:
    return np.ascontiguousarray(values, kind).tobytes()
