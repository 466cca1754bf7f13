import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.jobs.folder import check_same_devices
from spnas_detect.preparation import norm_notes
from spnas_detect.training import TrainingSettings
from spnas_detect.training.norms import MOST_GROUPS, FrozenNorm, SyncNorm, convert_norms, group_count, sees_batches


def network():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(8)))
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.startswith(("1.", "2.1.")) and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return module


IMAGES = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def test_frozen_norms_train_nothing_and_compute_what_batch_norm_evaluates_to():
    module = network()
    expected = copy.deepcopy(module).eval()(IMAGES)
    frozen = convert_norms(module, "frozen").train()
    before = {name: tensor.clone() for name, tensor in frozen.state_dict().items()}
    assert torch.equal(frozen(IMAGES), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in frozen.state_dict().items())
    trained = [name for name, parameter in frozen.named_parameters() if parameter.requires_grad]
    assert trained == ["0.weight", "0.bias"]
    assert [type(norm) for norm in (frozen[1], frozen[2][1])] == [FrozenNorm, FrozenNorm]


@pytest.mark.parametrize("norm", ["frozen", "sync", "group"])
def test_conversion_keeps_the_very_tensors_under_their_names(norm):
    module = network()
    before = dict(module.named_parameters()) | dict(module.named_buffers())
    convert_norms(module, norm)
    after = dict(module.named_parameters()) | dict(module.named_buffers())
    gone = {
        name for name in before if name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}
    }
    assert after.keys() == (before.keys() - gone if norm == "group" else before.keys())
    assert all(after[name] is before[name] for name in after)


def test_a_lone_process_synchronises_with_itself_to_batch_norm():
    plain, sync = network().train(), convert_norms(network(), "sync").train()
    inputs = [IMAGES.clone().requires_grad_() for _ in range(2)]
    outputs = [module(x) for module, x in zip((plain, sync), inputs, strict=True)]
    torch.testing.assert_close(outputs[0], outputs[1])
    for output in outputs:
        output.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(sync.state_dict()[name], tensor)
    assert isinstance(sync[1], SyncNorm)
    torch.testing.assert_close(sync.eval()(IMAGES), plain.eval()(IMAGES))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
def test_synchronised_norms_take_statistics_of_narrow_images_in_float32(kind):
    """As batch norm does: statistics, and γ and β's gradients, of the narrow numbers, and outputs as narrow."""
    plain, sync = (convert_norms(nn.Sequential(nn.BatchNorm2d(8)), norm).train() for norm in ("batch", "sync"))
    images = (100 + torch.randn(4, 8, 9, 9, generator=torch.Generator().manual_seed(2))).to(kind)
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    outputs = [module(x) for module, x in zip((plain, sync), inputs, strict=True)]
    assert outputs[1].dtype == inputs[1].dtype == kind
    near = {"atol": 2e-2, "rtol": 2e-2} if kind != torch.float32 else {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(*outputs, **near)
    for output in outputs:
        output.square().sum().backward()
    assert inputs[1].grad.dtype == kind
    for (name, tensor), (_, parameter) in zip(sync.named_parameters(), plain.named_parameters(), strict=True):
        assert tensor.grad.dtype == torch.float32, name
        torch.testing.assert_close(tensor.grad, parameter.grad, atol=1, rtol=1e-2)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(sync.state_dict()[name], tensor, msg=name)


def test_synchronised_norms_of_double_precision_stay_in_it():
    plain, sync = (convert_norms(network(), norm).double().train() for norm in ("batch", "sync"))
    torch.testing.assert_close(plain(IMAGES.double()), sync(IMAGES.double()))


@pytest.mark.parametrize("norm", ["batch", "sync", "group", "frozen"])
def test_every_norm_trains_in_bfloat16(norm):
    module = convert_norms(network(), norm).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = module(IMAGES).float().square().mean()
    loss.backward()
    assert module[0].weight.grad.isfinite().all()
    assert module[0].weight.grad.any()


@given(st.integers(1, 600))
def test_groups_divide_the_channels_and_are_never_of_one_channel_where_two_fit(channels):
    groups = group_count(channels)
    assert 1 <= groups <= MOST_GROUPS
    assert channels % groups == 0
    assert groups == 1 or channels // groups >= 2
    assert channels % 64 or groups == MOST_GROUPS


def test_weights_of_every_norm_inherit_to_every_norm():
    architecture = Architecture.parse("b@8_1-2")

    def build(norm, parent):
        generator = torch.Generator().manual_seed(0 if parent else 1)
        detector, _, receipt = build_detector(
            identity(architecture), 2, DetectorSettings(), parent, generator=generator
        )
        return convert_norms(detector, norm), receipt

    for before in ("batch", "group"):
        parent = build(before, {})[0].state_dict()
        for after in ("batch", "sync", "group", "frozen"):
            child, receipt = build(after, parent)
            assert receipt.inherited_percent == 100
            shared = [name for name in child.state_dict() if name in parent]
            assert all(torch.equal(child.state_dict()[name], parent[name]) for name in shared)
            statistics = [name for name in child.state_dict() if name.endswith("running_var")]
            assert bool(statistics) == (after != "group")
            if before == "group":
                assert all(bool((child.state_dict()[name] == 1).all()) for name in statistics)


@pytest.mark.parametrize(("norm", "sees"), [("batch", True), ("sync", False), ("group", False), ("frozen", False)])
def test_of_batch_norm_alone_it_matters_which_images_are_of_one_device(tmp_path, norm, sees):
    module = convert_norms(network(), norm)
    assert sees_batches(module) == sees
    check_same_devices(tmp_path, 2, 2, module)
    if not sees:
        check_same_devices(tmp_path, 1, 2, module)
        return
    with pytest.raises(ConfigError, match=r"was made on 1 device, .* on 2 they .*; go on with --devices 1, or"):
        check_same_devices(tmp_path, 1, 2, module)


def test_few_images_of_each_device_are_said():
    settings = TrainingSettings(batch_size=32, accumulate=2)
    (note,) = norm_notes(network(), settings, 4)
    assert note.startswith("batch norms see the 4 images of each device alone, not the 16 of all as on one device: ")
    assert note.endswith(": --norm sync has them see all")
    assert not list(norm_notes(network(), settings, 1))
    assert not list(norm_notes(network(), TrainingSettings(batch_size=32), 2))
    assert not list(norm_notes(convert_norms(network(), "sync"), settings, 4))
