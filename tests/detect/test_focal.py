"""The focal loss in parts, against torchvision's, values and gradients."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from spnas_detect.heads import focal
from spnas_detect.heads.focal import UNCOUNTED, focal_sums

SETTINGS = [(0.25, 2.0), (0.5, 0.0), (0.9, 1.5)]


def anchors(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 50, 4, generator=generator, dtype=dtype) * 6
    return logits.requires_grad_(), torch.randint(UNCOUNTED, 5, (2, 50), generator=generator)


def torchvisions(logits, labels, alpha, gamma):
    is_class = labels[..., None] == torch.arange(1, logits.shape[2] + 1)
    losses = sigmoid_focal_loss(logits, is_class.to(logits.dtype), alpha, gamma)
    return (losses * (labels != UNCOUNTED)[..., None]).sum((1, 2))


@pytest.mark.parametrize(("alpha", "gamma"), SETTINGS)
@pytest.mark.parametrize("part", [2**17, 24, 1])
def test_sums_and_gradients_are_torchvisions(monkeypatch, alpha, gamma, part):
    monkeypatch.setitem(focal._PART, "cpu", part)
    logits, labels = anchors()
    weights = torch.tensor([1.0, 3.0], dtype=torch.float64)
    found, wanted = (sums(logits, labels, alpha, gamma) for sums in (focal_sums, torchvisions))
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad((sums * weights).sum(), logits)[0] for sums in (found, wanted)]
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(
        focal_sums(logits.float(), labels, alpha, gamma), wanted.float(), rtol=1e-5, atol=1e-5
    )  # fmt: skip


def test_far_logits_cost_what_they_should():
    logits = torch.tensor([[[-200.0, 200.0], [200.0, -200.0]]], requires_grad=True)
    sums = focal_sums(logits, torch.tensor([[2, 2]]), 0.25, 2.0)
    assert sums.tolist() == pytest.approx([0.75 * 200 + 0.25 * 200])
    sums.sum().backward()
    assert logits.grad.tolist() == [[[0.0, 0.0], [0.75, -0.25]]]


def test_images_without_anchors_and_without_classes_of_objects_cost_nothing():
    assert focal_sums(torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.int64), 0.25, 2.0).tolist() == [0, 0]
    assert focal_sums(torch.zeros(1, 3, 2), torch.full((1, 3), UNCOUNTED), 0.25, 2.0).tolist() == [0]


def test_one_tensor_is_kept_for_the_way_back():
    logits, labels = anchors()
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: saved.append(one) or one, lambda one: one):
        focal_sums(logits, labels, 0.25, 2.0)
    assert [one.shape for one in saved] == [logits.shape, labels.shape]


def test_a_compiled_loss_is_the_same():
    logits, labels = anchors(torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(focal_sums, fullgraph=True, backend="aot_eager")
    found, wanted = (sums(logits, labels, 0.25, 2.0) for sums in (compiled, focal_sums))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(sums.sum(), logits)[0] for sums in (found, wanted)))
