"""NMS in many groups against torchvision's batched_nms, in pairs."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from pairs import Row, compare
from spnas_kernels import nms_grouped

THRESHOLD = 0.5
SETTINGS = (
    ("1 000 boxes × 5 classes", 1000, 5),
    ("4 000 boxes × 5 classes", 4000, 5),
    ("20 000 boxes × 80 classes", 20000, 80),
    ("16 images × 5 levels × 500 boxes", 16 * 5 * 500, 16 * 5),
    ("20 000 boxes × 1 class", 20000, 1),
    ("100 boxes × 5 classes", 100, 5),
)


def clustered_boxes(count: int, generator: torch.Generator) -> Tensor:
    """Boxes as a detector gives them: around objects of 800 × 1216 pixels, about ten to each."""
    objects = max(1, count // 10)
    centres = torch.rand(objects, 2, generator=generator) * torch.tensor([1216.0, 800.0])
    sides = torch.exp(torch.empty(objects, 2).uniform_(2.5, 5.5, generator=generator))
    which = torch.randint(objects, (count,), generator=generator)
    centre = centres[which] + sides[which] * 0.15 * torch.randn(count, 2, generator=generator)
    side = sides[which] * torch.exp(0.2 * torch.randn(count, 2, generator=generator))
    return torch.cat([centre - side / 2, centre + side / 2], 1)


def rows(device: str = "cpu") -> list[Row]:
    """Measure each setting."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for name, count, groups in SETTINGS:
        boxes = clustered_boxes(count, generator).to(device)
        scores = torch.rand(count, generator=generator).to(device)
        group = torch.randint(groups, (count,), generator=generator).to(device)

        def ours(boxes: Tensor = boxes, scores: Tensor = scores, group: Tensor = group) -> Tensor:
            return nms_grouped(boxes, scores, group, THRESHOLD)

        def theirs(boxes: Tensor = boxes, scores: Tensor = scores, group: Tensor = group) -> Tensor:
            return batched_nms(boxes, scores, group, THRESHOLD)

        traffic = count * (4 * 4 + 4 + 8) + len(ours()) * 8
        found.append(compare(name, ours, theirs, traffic, repeats=11, device=device))
    return found
