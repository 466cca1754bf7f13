"""The step of the published Faster R-CNN R50-FPN recipe on a GPU, with and without a loader, beside torchvision's."""

import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import count as numbers
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.transforms.v2 import functional

from pairs import milliseconds
from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_detect.data import Batch, CachedData, Loader, build_cache, open_data, train_augmentation
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.training import convert_norms

CODE, CLASSES = "r_111-2111-211111-211", 80
IMAGES, OBJECTS, SIZE, CANVAS, BATCH = 64, 8, (640, 384), (1333, 800), 2
FROZEN = ("backbone.stem.", *(f"backbone.blocks.{block}." for block in range(3)))  # stem and first stage
STEPS, REPEATS, AHEAD, WORKERS = 12, 5, 8, 8
SETTINGS = DetectorSettings(
    neck_channels=256,
    head_channels=1024,
    extra_levels="pool",
    anchor_sizes=((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)),
    aspect_ratios=(0.5, 1.0, 2.0),
    rpn_candidates=2000,
    rpn_proposals=2000,
    rpn_samples=256,
    box_samples=512,
    pooled_size=7,
    sampling_ratio=2,
    finest_size=56,
)
"""As ``fasterrcnn_resnet50_fpn`` is trained."""

Step = Callable[[Any], None]


def photographs(folder: Path, count: int = IMAGES) -> Path:
    """Write JPEGs of COCO's usual width that fill the canvas, with the annotations of some boxes."""
    rng = np.random.default_rng(0)
    annotations = []
    (folder / "images").mkdir()
    for image in range(count):
        pixels = rng.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize(SIZE, Image.Resampling.BICUBIC).filter(ImageFilter.SHARPEN)
        picture.save(folder / "images" / f"{image}.jpg", quality=95)
        for _ in range(OBJECTS):
            side = rng.uniform(20, 200, 2)
            corner = rng.uniform(0, np.subtract(SIZE, side))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(rng.integers(1, CLASSES + 1)),
                    "bbox": [*corner, *side],
                    "area": float(side.prod()),
                    "iscrowd": 0,
                }
            )
    names = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
    images = [
        {"id": image, "file_name": f"images/{image}.jpg", "width": SIZE[0], "height": SIZE[1]} for image in range(count)
    ]
    table = folder / "annotations.json"
    table.write_text(json.dumps({"images": images, "annotations": annotations, "categories": names}))
    return table


def our_step(bfloat16: bool) -> Step:
    """Frozen norms, stem and first stage, as the recipe has them."""
    rewrite = identity(Architecture.parse(CODE))
    detector = build_detector(rewrite, CLASSES, SETTINGS, {}, generator=torch.Generator().manual_seed(0))[0]
    convert_norms(detector, "frozen")
    for name, parameter in detector.named_parameters():
        if name.startswith(FROZEN):
            parameter.requires_grad_(requires_grad=False)
    module = detector.cuda().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    generator = torch.Generator("cuda").manual_seed(0)
    finish_step = optimisation(module)

    def step(batch: Batch) -> None:
        here = batch.to(torch.device("cuda"))
        with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
            losses = module.losses(here.inputs(), here.targets, generator=generator)
        finish_step(losses)

    return step


def their_step(bfloat16: bool) -> Step:
    """A step of torchvision's detection reference."""
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=3
    )
    model = FasterRCNN(backbone, CLASSES + 1, min_size=CANVAS[1], max_size=CANVAS[0]).cuda().train()
    finish_step = optimisation(model)

    def step(batch: tuple[list[Tensor], list[dict[str, Tensor]]]) -> None:
        images = [image.cuda(non_blocking=True) for image in batch[0]]
        targets = [{name: values.cuda(non_blocking=True) for name, values in one.items()} for one in batch[1]]
        with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
            losses = model(images, targets)
        finish_step(losses)

    return step


def optimisation(module: nn.Module) -> Callable[[dict[str, Tensor]], None]:
    """What follows the losses, on both sides."""
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)

    def finish_step(losses: dict[str, Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.stack([loss.float() for loss in losses.values()]).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return finish_step


class ReferenceData(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """Images as the reference reads them: decoded, flipped at random, made floats; its model resizes them."""

    def __init__(self, table: Path) -> None:
        stored = json.loads(table.read_text())
        self._files = [table.parent / image["file_name"] for image in stored["images"]]
        self._boxes: list[list[list[float]]] = [[] for _ in self._files]
        self._labels: list[list[int]] = [[] for _ in self._files]
        for one in stored["annotations"]:
            x, y, width, height = one["bbox"]
            self._boxes[one["image_id"]].append([x, y, x + width, y + height])
            self._labels[one["image_id"]].append(one["category_id"])

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image = functional.pil_to_tensor(Image.open(self._files[index]).convert("RGB"))
        boxes = torch.tensor(self._boxes[index])
        if torch.rand(()) < 0.5:
            image = functional.horizontal_flip(image)
            boxes[:, [0, 2]] = SIZE[0] - boxes[:, [2, 0]]
        labels = torch.tensor(self._labels[index])
        return functional.to_dtype(image, torch.float32, scale=True), {"boxes": boxes, "labels": labels}


def in_lists(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The reference's batches."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def our_batches(data: CachedData) -> Iterator[Batch]:
    """Epoch after epoch."""
    loader = Loader(
        data.split("train"),
        batch_size=BATCH,
        augmentation=train_augmentation(),
        shuffle=True,
        seed=0,
        channels_last=True,
        drop_last=True,
        prefetch=AHEAD,
        pin=True,
    )
    for epoch in numbers():
        yield from loader.epoch(epoch)


def their_batches(table: Path) -> Iterator[Any]:
    """Likewise."""
    loader = DataLoader(
        ReferenceData(table),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        collate_fn=in_lists,
        pin_memory=True,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        yield from loader


def rate(step: Step, batches: Iterator[Any], *, loads: bool) -> Callable[[], float]:
    """Return what measures images per second, after a warm-up."""
    waiting = next(batches)

    def steps() -> None:
        for _ in range(STEPS):
            step(next(batches) if loads else waiting)

    steps()
    return lambda: STEPS * BATCH / milliseconds(steps) * 1e3


def run() -> str:
    """Measure and return the table."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        table = photographs(Path(folder))
        data = build_cache(open_data(f"coco:{table}", seed=0), Path(folder) / "cache", image_size=CANVAS)
        for bfloat16 in (False, True):
            sides = (our_step(bfloat16), our_batches(data)), (their_step(bfloat16), their_batches(table))
            for loads in (False, True):
                ours, theirs = (rate(step, batches, loads=loads) for step, batches in sides)
                pairs = [(ours(), theirs()) for _ in range(REPEATS)]
                ratios = sorted(own / peer for own, peer in pairs)
                name = f"{'bfloat16' if bfloat16 else 'float32'}, {'with' if loads else 'without'} the loader"
                rates = " | ".join(f"{median(rates):.1f} images/s" for rates in zip(*pairs, strict=True))
                spread = f"{ratios[0]:.2f}–{ratios[-1]:.2f}×"
                lines.append(f"| {name} | {rates} | **{median(ratios):.2f}×** | {spread} |")
                print(lines[-1], flush=True)
    return "\n".join(["| | ours | theirs | ratio | least to greatest |\n|---|---|---|---|---|", *lines])
