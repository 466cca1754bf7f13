"""A head evaluated at a sample of positions, against the same head on whole levels."""

import pytest
import torch
from torch import nn

from spnas_detect.data import pad_targets
from spnas_detect.heads import Anchors, ProposalNetwork
from spnas_detect.heads import proposals as module
from spnas_detect.heads.revisit import convolve_at, is_worthwhile, surroundings

SHAPES = [(9, 7), (5, 4), (1, 2), (1, 1)]


def random_levels(layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(3, 6, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    return [level.contiguous(memory_format=layout).requires_grad_() for level in levels]


def test_surroundings_are_a_positions_neighbours_row_by_row():
    table = surroundings([(2, 3), (1, 1)], torch.device("cpu"))
    assert table.tolist()[0] == [-1, -1, -1, -1, 0, 1, -1, 3, 4]
    assert table.tolist()[4] == [0, 1, 2, 3, 4, 5, -1, -1, -1]
    assert table.tolist()[6] == [-1, -1, -1, -1, 6, -1, -1, -1, -1]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_position_gives_what_the_convolution_gives(layout):
    levels = random_levels(layout)
    convolution = nn.Conv2d(6, 5, 3, padding=1, dtype=torch.float64)
    wanted = torch.cat([convolution(level).permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1)
    positions = torch.stack([torch.randperm(wanted.shape[1]) for _ in range(3)])
    found = convolve_at(convolution, levels, positions)
    torch.testing.assert_close(found, wanted.gather(1, positions[..., None].expand(-1, -1, 5)), rtol=0, atol=1e-12)


def losses_and_gradients(network, monkeypatch, levels, *, revisits):
    asked = []
    monkeypatch.setattr(module, "is_worthwhile", lambda *_: asked.append(1) or revisits)
    objects = {"boxes": torch.tensor([[4.0, 6.0, 21.0, 30.0]]), "labels": torch.tensor([1])}
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    targets = pad_targets([objects, nothing, objects], [(36, 28)] * 3)
    predictions = network.scan(levels)
    assert predictions.objectness.requires_grad is not revisits
    noise = torch.rand(predictions.objectness.shape, generator=torch.Generator().manual_seed(1))
    losses = network.losses(levels, predictions, targets, noise)
    assert asked
    wanted = [*network.parameters(), *levels]
    return losses, torch.autograd.grad(sum(losses.values()), wanted)


def test_losses_and_gradients_do_not_depend_on_the_way(monkeypatch):
    torch.manual_seed(0)
    network = ProposalNetwork(
        6, Anchors([4, 8, 16, 32], [2.0], [0.5, 1.0, 2.0]), candidates=50, proposals=20, samples=32
    ).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    levels = random_levels()
    dense, dense_gradients = losses_and_gradients(network, monkeypatch, levels, revisits=False)
    sparse, sparse_gradients = losses_and_gradients(network, monkeypatch, levels, revisits=True)
    assert dense["loss_rpn_box_reg"] > 0
    # Predictions enter the losses as float32.
    torch.testing.assert_close(sparse, dense, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(sparse_gradients, dense_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_large_images_revisit_and_large_samples_do_not():
    assert is_worthwhile([(200, 304), (100, 152), (50, 76), (25, 38)], 256)
    assert not is_worthwhile([(200, 304)], 200 * 304 * 3)
