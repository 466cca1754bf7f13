"""Bytes become what a network takes: colours as torchvision distorts them, normalised, zeros around the image."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from spnas_detect.data import Photometry, finish
from spnas_detect.data.finishing import MEAN, STD, distort

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def drawn(count):
    return Photometry.draw([np.random.default_rng([7, index]) for index in range(count)])


def as_torchvision(image, photometry, index):
    """Its own steps one after the other, on one image of floats."""
    brightness, contrast, saturation, hue = photometry.factors[index].tolist()
    first = bool(photometry.contrast_first[index])
    image = functional.adjust_brightness(image, brightness)
    if first:
        image = functional.adjust_contrast(image, contrast)
    image = functional.adjust_saturation(image, saturation)
    image = functional.adjust_hue(image, hue)
    if not first:
        image = functional.adjust_contrast(image, contrast)
    return functional.permute_channels(image, photometry.channels[index].tolist())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_colours_are_those_that_torchvision_gives_each_image(device, layout):
    images = torch.rand(40, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    images[0] = 0.5  # no hue
    images[1, :, :4] = images[1, :1, :4]
    photometry = drawn(40)
    ours = distort(images.to(device, memory_format=layout), photometry.to(torch.device(device))).cpu()
    for index, image in enumerate(images):
        torch.testing.assert_close(ours[index], as_torchvision(image, photometry, index), atol=2e-5, rtol=0)
    assert sum(not torch.allclose(one, other, atol=1e-3) for one, other in zip(ours, images, strict=True)) > 30


def test_draws_cover_what_torchvision_draws():
    torch.manual_seed(0)
    peer = v2.RandomPhotometricDistort()
    theirs = [peer.make_params([torch.zeros(3, 2, 2)]) for _ in range(400)]
    ours = drawn(400)
    for column, (name, neutral) in enumerate([("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)]):
        values = ours.factors[:, column]
        values = values[values != neutral].tolist()
        expected = [one[f"{name}_factor"] for one in theirs if one[f"{name}_factor"] is not None]
        assert 150 < len(values) < 250
        spread = max(expected) - min(expected)
        assert abs(min(values) - min(expected)) < 0.05 * spread
        assert abs(max(values) - max(expected)) < 0.05 * spread
    assert 150 < int(ours.contrast_first.sum()) < 250
    orders = {tuple(order) for order in ours.channels.tolist()}
    assert len(orders) == 6
    assert 200 < sum(order == [0, 1, 2] for order in ours.channels.tolist()) < 280


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_outside_of_the_image_are_zeros_and_inside_its_normalised_bytes(device, channels_last):
    images = torch.randint(256, (2, 3, 20, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([[20.0, 30], [7, 11]])
    found = finish(images.to(device), sizes.to(device), channels_last=channels_last).cpu()
    mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (MEAN, STD))
    expected = (images - mean) / std
    assert torch.allclose(found[0], expected[0], atol=1e-6)
    assert torch.allclose(found[1, :, :7, :11], expected[1, :, :7, :11], atol=1e-6)
    assert not found[1, :, 7:].any()
    assert not found[1, :, :, 11:].any()
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert torch.equal(finish(images[:1]), found[:1])


def test_contrast_is_about_the_mean_of_the_image_without_its_padding():
    image = torch.randint(256, (3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    canvas = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    canvas[0, :, :6, :8] = image
    photometry = Photometry(torch.tensor([[1.0, 0.6, 1.0, 0.0]]), torch.tensor([True]), torch.tensor([[0, 1, 2]]))
    alone = finish(image[None], photometry=photometry)
    padded = finish(canvas, torch.tensor([[6.0, 8]]), photometry)
    torch.testing.assert_close(padded[..., :6, :8], alone, atol=1e-5, rtol=0)
    assert not padded[..., 6:, :].any()
