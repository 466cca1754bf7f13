"""From pixels as they are stored to what a network takes, on the device where they lie.

Images travel as bytes, a quarter of what floats take, and are distorted, normalised and padded where they are used.
"""

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
"""Subtracted from RGB in 0…1: the mean of ImageNet, as pretrained backbones expect."""

STD = (0.229, 0.224, 0.225)
"""Divides what remains: the standard deviation of ImageNet."""

_GREY = (0.2989, 0.587, 0.114)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = (0.875, 1.125), (0.5, 1.5), (0.5, 1.5), (-0.05, 0.05)


class Photometry(NamedTuple):
    """How the colours of N images are distorted: ranges and order of torchvision's ``RandomPhotometricDistort``.

    After Liu et al., "SSD": each change has probability 1/2.

    Attributes:
        factors: float32[N, 4] of brightness, contrast, saturation and hue: 1, 1, 1 and 0 change nothing.
        contrast_first: bool[N], whether contrast comes before saturation and hue, or behind them.
        channels: int64[N, 3], which channel each one is taken from.
    """

    factors: Tensor
    contrast_first: Tensor
    channels: Tensor

    @classmethod
    def draw(cls, generators: list[np.random.Generator]) -> "Photometry":
        """Draw the distortion of as many images as there are generators, each from its own."""
        drawn = [_draw(rng) for rng in generators]
        factors, contrast_first, channels = zip(*drawn, strict=True) if drawn else ([], [], [])
        return cls(
            torch.tensor(factors, dtype=torch.float32).reshape(-1, 4),
            torch.tensor(contrast_first, dtype=torch.bool),
            torch.tensor(channels, dtype=torch.int64).reshape(-1, 3),
        )

    def to(self, device: torch.device) -> "Photometry":
        """Move all three."""
        return Photometry(*(part.to(device, non_blocking=True) for part in self))


def _draw(rng: np.random.Generator) -> tuple[list[float], bool, list[int]]:
    ranges = (_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE)
    neutral = (1.0, 1.0, 1.0, 0.0)
    factors = [
        rng.uniform(*bounds) if rng.random() < 0.5 else none for bounds, none in zip(ranges, neutral, strict=True)
    ]
    channels = rng.permutation(3).tolist() if rng.random() < 0.5 else [0, 1, 2]
    return factors, bool(rng.random() < 0.5), channels


def finish(
    images: Tensor, sizes: Tensor | None = None, photometry: Photometry | None = None, *, channels_last: bool = False
) -> Tensor:
    """Distort, normalise and pad a batch.

    Args:
        images: uint8[N, 3, H, W] of RGB, each at the top left of its canvas.
        sizes: [N, 2], (height, width) of the part of the canvas that is image, on the images' device; None for all.
        photometry: of the colours, on the images' device; None leaves them.
        channels_last: whether the result has that memory format.

    Returns:
        float32[N, 3, H, W] with MEAN and STD taken out; zeros outside the images.
    """
    values = images.to(torch.float32, memory_format=torch.contiguous_format)
    inside = None if sizes is None else _inside(images, sizes)
    if photometry is not None:
        values = distort(values.div_(255), photometry, inside).mul_(255)
    values = values.sub_(_of_channels(MEAN, images.device) * 255).div_(_of_channels(STD, images.device) * 255)
    if inside is not None:
        values = values.mul_(inside)
    # Last: numbers of channels that lie side by side are slower to compute with than to move.
    return values.contiguous(memory_format=torch.channels_last) if channels_last else values


@functools.cache
def _of_channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Numbers of red, green and blue, which travel to a device once; from pinned memory, or the host would wait."""
    numbers = torch.tensor(values).view(3, 1, 1)
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers.to(device)


def _inside(images: Tensor, sizes: Tensor) -> Tensor:
    """Say of each pixel whether it is image: bool[N, 1, H, W]."""
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device)[:, None] < sizes[:, 0].view(-1, 1, 1, 1)
    columns = torch.arange(width, device=images.device) < sizes[:, 1].view(-1, 1, 1, 1)
    return rows & columns


def distort(images: Tensor, photometry: Photometry, inside: Tensor | None = None) -> Tensor:
    """Distort the colours of a batch.

    Args:
        images: float32[N, 3, H, W] in 0…1.
        photometry: of each of them.
        inside: bool[N, 1, H, W], which pixels are image: contrast is about their mean. None for all.

    Returns:
        float32[N, 3, H, W] in 0…1.
    """
    brightness, contrast, saturation, hue = (part.view(-1, 1, 1, 1) for part in photometry.factors.unbind(1))
    first = photometry.contrast_first.view(-1, 1, 1, 1)
    images = (images * brightness).clamp_(0, 1)
    images = _contrasted(images, torch.where(first, contrast, 1.0), inside)
    images = _blended(images, _grey(images), saturation)
    images = _turned(images, hue)
    images = _contrasted(images, torch.where(first, 1.0, contrast), inside)
    places = photometry.channels.view(-1, 3, 1, 1).expand_as(images)
    return images.gather(1, places)


def _grey(images: Tensor) -> Tensor:
    return (images * _of_channels(_GREY, images.device)).sum(1, keepdim=True)


def _blended(images: Tensor, others: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(others.expand_as(images), images, share).clamp_(0, 1)


def _contrasted(images: Tensor, share: Tensor, inside: Tensor | None) -> Tensor:
    grey = _grey(images)
    if inside is None:
        mean = grey.mean((1, 2, 3), keepdim=True)
    else:
        mean = (grey * inside).sum((1, 2, 3), keepdim=True) / inside.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return _blended(images, mean, share)


def _turned(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a share of the circle, keeping the greatest and the least channel of every pixel.

    A pixel's channel c is max - (max - min) · clamp(min(k, 4 - k), 0, 1) with k = (n + 6 · hue) mod 6 and n = 5, 3, 1
    for red, green and blue (Wikipedia, "HSL and HSV", alternative formula).
    """
    greatest, least = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = greatest - least
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    divisor = torch.where(chroma == 0, 1.0, chroma)
    hue = torch.where(
        greatest == red,
        (green - blue) / divisor,
        torch.where(greatest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    place = torch.remainder(_of_channels((5.0, 3.0, 1.0), images.device) + hue + 6 * turn, 6)
    turned = greatest - chroma * torch.minimum(place, 4 - place).clamp_(0, 1)
    return torch.where(turn == 0, images, turned)
