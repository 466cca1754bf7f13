"""RoIAlign over a feature pyramid against torchvision's MultiScaleRoIAlign, in pairs."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from pairs import Row, compare
from spnas_kernels import roi_align_fpn

HEIGHT, WIDTH, CHANNELS, POOLED = 800, 1216, 256, 7
STRIDES = (4, 8, 16, 32)
SCALES = [1 / stride for stride in STRIDES]
FORMATS = {"NCHW": torch.contiguous_format, "channels-last": torch.channels_last}


def random_rois(count: int, generator: torch.Generator) -> Tensor:
    """Boxes from 12 to 650 pixels, aspect ratios around 1, inside one image."""
    side = torch.exp(torch.empty(count).uniform_(2.5, 6.5, generator=generator))
    ratio = torch.exp(torch.randn(count, generator=generator) * 0.4)
    width, height = (side * ratio).clamp(max=WIDTH), (side / ratio).clamp(max=HEIGHT)
    x = torch.rand(count, generator=generator) * (WIDTH - width)
    y = torch.rand(count, generator=generator) * (HEIGHT - height)
    return torch.stack([torch.zeros(count), x, y, x + width, y + height], 1)


def pyramid(memory_format: torch.memory_format, generator: torch.Generator) -> list[Tensor]:
    """Features of one image."""
    shapes = [(1, CHANNELS, HEIGHT // stride, WIDTH // stride) for stride in STRIDES]
    return [torch.randn(shape, generator=generator).contiguous(memory_format=memory_format) for shape in shapes]


def backward_too(pool: Callable[[], Tensor], features: list[Tensor], gradient: Tensor) -> Callable[[], None]:
    """Pool and differentiate."""

    def run() -> None:
        pool().backward(gradient)
        for feature in features:
            feature.grad = None

    return run


def rows(device: str = "cpu") -> list[Row]:
    """Measure forward, and forward with backward, of both memory formats, with many RoIs and with few.

    On a GPU in bfloat16 too, where torchvision's operator has to widen what it is given, as it does under autocast.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    types = (torch.float32, torch.bfloat16) if device == "cuda" else (torch.float32,)
    for count in (1000, 100):
        rois = random_rois(count, generator).to(device)
        for dtype, (name, memory_format) in itertools.product(types, FORMATS.items()):
            features = [
                feature.to(device, dtype, memory_format=memory_format) for feature in pyramid(memory_format, generator)
            ]
            pooler = MultiScaleRoIAlign([str(level) for level in range(len(features))], POOLED, sampling_ratio=2)

            def ours(features: list[Tensor] = features, rois: Tensor = rois) -> Tensor:
                return roi_align_fpn(features, rois, POOLED, SCALES, sampling_ratio=2)

            def theirs(
                pooler: MultiScaleRoIAlign = pooler, features: list[Tensor] = features, rois: Tensor = rois
            ) -> Tensor:
                wide = {str(level): feature.float() for level, feature in enumerate(features)}
                pooled: Tensor = pooler(wide, [rois[:, 1:]], [(HEIGHT, WIDTH)])
                return pooled.to(features[0].dtype)

            output = ours()
            touched = sum(feature.numel() for feature in features) * min(1.0, count / 1000)
            read_and_written = (touched + output.numel()) * dtype.itemsize
            what = f"{str(dtype).removeprefix('torch.')}, {name}, {count} RoIs"
            found.append(compare(f"forward, {what}", ours, theirs, read_and_written, repeats=15, device=device))
            for feature in features:
                feature.requires_grad_()
            gradient = torch.ones_like(output)
            found.append(
                compare(
                    f"forward + backward, {what}",
                    backward_too(ours, features, gradient),
                    backward_too(theirs, features, gradient),
                    2 * read_and_written + touched * dtype.itemsize,
                    repeats=9,
                    device=device,
                )
            )
    return found
