import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from spnas_detect.training import AveragedWeights


def trained(module, step):
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(step + 1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def test_the_average_is_torchs_after_the_warm_up():
    module = network()
    ours = AveragedWeights(module, 0.9)
    peer = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    ours.updates = 10_000  # far behind the warm-up
    peer.n_averaged.fill_(1)
    for step in range(5):
        trained(module, step)
        ours.update()
        peer.update_parameters(module)
    for name, tensor in peer.module.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(ours.tensors()[name], tensor)


def test_the_first_updates_forget_the_first_weights():
    module = nn.Linear(1, 1)
    average = AveragedWeights(module, 0.999)
    first = module.weight.item()
    with torch.no_grad():
        module.weight.add_(1)
    average.update()
    assert average.tensors()["weight"].item() == pytest.approx(first + 0.9)  # keeps (1 + 0) / (10 + 0)


def test_counters_are_taken_as_they_stand():
    module = network()
    average = AveragedWeights(module, 0.9)
    module[1].num_batches_tracked.fill_(7)
    average.update()
    assert average.tensors()["1.num_batches_tracked"].item() == 7


def test_applied_weights_last_as_long_as_the_context():
    module = network()
    average = AveragedWeights(module, 0.9)
    trained(module, 0)
    average.update()
    live, averaged = copy.deepcopy(module.state_dict()), copy.deepcopy(average.tensors())
    with average.applied():
        assert all(torch.equal(tensor, averaged[name]) for name, tensor in module.state_dict().items())
    assert all(torch.equal(tensor, live[name]) for name, tensor in module.state_dict().items())
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in average.tensors().items())
    average.apply()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in module.state_dict().items())
