"""Augmentation of training images, built on torchvision's box-aware transforms."""

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from spnas_core.errors import DataError


class Augmentation:
    """A chain of torchvision transforms that keeps images, boxes and labels together.

    Draws from torch's global random state only, so seeding that makes a call repeatable.
    """

    def __init__(self, transform: nn.Module, min_box: float) -> None:
        self._transform = transform
        self._sanitize = v2.SanitizeBoundingBoxes(min_size=min_box, labels_getter=lambda sample: sample["labels"])

    def __call__(self, image: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Augment one image.

        Args:
            image: uint8[3, H, W].
            boxes: float32[G, 4] of (x1, y1, x2, y2) in pixels.
            labels: [G] or [G, ...]: rows stay with their boxes, so ignore flags may ride as a second column.

        Returns:
            The same three, the image in its size; boxes are clipped to it and those that became smaller than
            the least size are gone, with their labels.
        """
        height, width = image.shape[-2:]
        sample = {
            "image": tv_tensors.Image(image),
            "boxes": tv_tensors.BoundingBoxes(
                boxes, format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=(height, width)
            ),
            "labels": labels,
        }
        sample = self._sanitize(self._transform(sample))
        return (
            sample["image"].as_subclass(Tensor),
            sample["boxes"].as_subclass(Tensor).to(torch.float32),
            sample["labels"],
        )


class _CropToCanvas(nn.Module):
    """Scale by a random factor, then crop or pad at random back to the size that the image had."""

    def __init__(self, scale_range: tuple[float, float]) -> None:
        super().__init__()
        self._scale_range = scale_range

    def forward(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        height, width = sample["image"].shape[-2:]
        low, high = self._scale_range
        factor = low + (high - low) * float(torch.rand(()))
        # not v2.ScaleJitter: on an image that is not square its factor is not relative to the image's size
        resize = v2.Resize([max(1, round(height * factor)), max(1, round(width * factor))], antialias=True)
        crop = v2.RandomCrop((height, width), pad_if_needed=True)
        cropped: dict[str, Tensor] = crop(resize(sample))
        return cropped


def train_augmentation(
    *,
    flip: float = 0.5,
    photometric: bool = False,
    scale_range: tuple[float, float] | None = None,
    min_box: float = 1.0,
) -> Augmentation:
    """Build the augmentation of training images.

    Args:
        flip: probability of a horizontal flip, 0…1.
        photometric: whether brightness, contrast, saturation, hue and channel order are distorted.
        scale_range: least and greatest factor by which the image is scaled before a random crop (factor above
            1) or a random placement on zeros (below 1) of the canvas' size; None leaves the scale. The crop
            may remove boxes.
        min_box: boxes with a side below this many pixels are removed, at least 1.

    Returns:
        A callable (image, boxes, labels) → the same.

    Raises:
        DataError: a setting out of its range.
    """
    if not 0 <= flip <= 1:
        raise DataError(f"augmentation flip is {flip!r}: it must be a probability in 0…1")
    if not min_box >= 1:
        raise DataError(f"augmentation min_box is {min_box!r}: it must be at least 1 pixel")
    if scale_range is not None and not 0.1 <= scale_range[0] <= scale_range[1] <= 10:
        raise DataError(f"augmentation scale_range is {scale_range!r}: it must ascend within 0.1…10")
    steps: list[nn.Module] = [v2.RandomHorizontalFlip(flip)]
    if photometric:
        steps.append(v2.RandomPhotometricDistort())
    if scale_range is not None:
        steps.append(_CropToCanvas(scale_range))
    return Augmentation(v2.Compose(steps), min_box)
