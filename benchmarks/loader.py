"""Images per second of a core: our loader against torchvision's detection reference, on JPEGs of COCO's usual size."""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

import gpu_recipe
from spnas_detect.data import CachedData, Loader, build_cache, open_data, train_augmentation
from spnas_detect.data.cache.modes import MODES

TITLE = "The loader"
CANVAS, BATCH, IMAGES, REPEATS = (1344, 800), 2, 32, 7


def our_batches(data: CachedData, *, photometric: bool) -> Iterator[int]:
    """Batches as a training gets them, before the device finishes them; the number of images of each."""
    loader = Loader(
        data.split("train"),
        batch_size=BATCH,
        augmentation=train_augmentation(),
        photometric=photometric,
        shuffle=True,
        seed=0,
        drop_last=True,
    )
    for epoch in count():
        for batch in loader.epoch(epoch):
            yield len(batch.indices)


def their_batches(files: list[Path], *, photometric: bool) -> Iterator[int]:
    """The reference's work: decode, distort, flip, make floats, resize as its model does, put together."""
    distort = v2.RandomPhotometricDistort()
    for first in count(step=BATCH):
        canvas = torch.zeros(BATCH, 3, CANVAS[1], CANVAS[0])
        for place in range(BATCH):
            image = _read(files[(first + place) % len(files)])
            if photometric:
                image = distort(image)
            if torch.rand(()) < 0.5:
                image = functional.horizontal_flip(image)
            values = functional.to_dtype(image, torch.float32, scale=True)
            values = functional.normalize(values, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            scale = min(CANVAS[1] / values.shape[1], CANVAS[0] / values.shape[2])
            size = [round(side * scale) for side in values.shape[1:]]
            values = torch.nn.functional.interpolate(values[None], size, mode="bilinear")[0]
            canvas[place, :, : size[0], : size[1]] = values
        yield BATCH


def _read(path: Path) -> Tensor:
    return functional.pil_to_tensor(Image.open(path).convert("RGB"))


def rate(batches: Iterator[int]) -> Callable[[], float]:
    """Return what measures images per second of processor time, after a first batch."""
    next(batches)

    def measure() -> float:
        begin, images = time.process_time(), 0
        while time.process_time() - begin < 0.5 or images < 2 * BATCH:
            images += next(batches)
        return images / (time.process_time() - begin)

    return measure


def run(_: argparse.Namespace) -> str:
    """Measure in one thread, all forms of the cache and the reference in turn, and return the table."""
    torch.set_num_threads(1)
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = open_data(f"coco:{gpu_recipe.photographs(folder, IMAGES)}", seed=0)
        caches = {mode: build_cache(data, folder / "cache", image_size=CANVAS, mode=mode) for mode in MODES}
        files = sorted((folder / "images").iterdir())
        for photometric in (False, True):
            measures = {mode: rate(our_batches(cache, photometric=photometric)) for mode, cache in caches.items()}
            theirs = rate(their_batches(files, photometric=photometric))
            rounds = [([measure() for measure in measures.values()], theirs()) for _ in range(REPEATS)]
            what = "flip and photometric distortion" if photometric else "flip"
            reference = median(peer for _, peer in rounds)
            lines.append(f"| {what} | reference | {reference:.0f} | | |")
            for place, mode in enumerate(measures):
                ratios = sorted(ours[place] / peer for ours, peer in rounds)
                own = median(ours[place] for ours, _ in rounds)
                spread = f"{ratios[0]:.1f}–{ratios[-1]:.1f}×"
                lines.append(f"| {what} | `{mode}` | {own:.0f} | **{median(ratios):.1f}×** | {spread} |")
    what = (
        f"Images per second of one core on a canvas of {CANVAS[0]}×{CANVAS[1]}, from {gpu_recipe.SIZE[0]}×"
        f"{gpu_recipe.SIZE[1]} JPEGs, by the form of the cache. Ours leaves normalising and distorting to the device; "
        "the reference decodes, resizes, distorts and normalises here. [Scaling](scaling.md) has disk, memory and "
        "minutes."
    )
    head = "| augmentation | | images/s | ratio | least to greatest |\n|---|---|---|---|---|"
    return "\n".join([what, "", head, *lines])
