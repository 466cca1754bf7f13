"""Random feature pyramids, and RoIs in them."""

import torch

SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def random_rois(count, images, height, width, generator, dtype=torch.float32):
    """Boxes of all sizes, some reaching outside, some of no size, some on pixel and level borders."""
    centre = torch.rand(count, 2, generator=generator, dtype=dtype) * torch.tensor([width, height]) * 1.2 - 10
    side = torch.exp(torch.empty(count, 2, dtype=dtype).uniform_(0, 6.3, generator=generator))
    boxes = torch.cat([centre - side / 2, centre + side / 2], 1)
    boxes[::7] = boxes[::7].round()
    boxes[3::11, 2:] = boxes[3::11, :2]
    for offset, exact in enumerate((112.0, 224.0, 448.0)):
        chosen = slice(5 + offset, None, 13)
        boxes[chosen, :2] = boxes[chosen, :2].round()
        boxes[chosen, 2:] = boxes[chosen, :2] + exact
    index = torch.randint(images, (count, 1), generator=generator).to(dtype)
    return torch.cat([index, boxes], 1)


def pyramid(images, channels, height, width, generator, dtype=torch.float32, formats=(False,) * 4, levels=4):
    features = []
    for level in range(levels):
        shape = (images, channels, height // 2 ** (level + 2), width // 2 ** (level + 2))
        feature = torch.randn(shape, generator=generator, dtype=dtype)
        features.append(feature.contiguous(memory_format=torch.channels_last) if formats[level] else feature)
    return features
