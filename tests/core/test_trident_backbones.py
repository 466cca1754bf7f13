"""One stage with several dilations that share their weights: TridentNet."""

import copy

import pytest
import torch
from torch import nn

from spnas_core import Architecture
from spnas_core.backbones import TridentBackbone, TridentNetwork, blank_network, fresh_network, read_network
from spnas_core.backbones.trident import BranchedConvolution
from spnas_core.cost import backbone_cost
from spnas_core.errors import CodeError
from spnas_core.networks import Backbone
from spnas_core.testing import uneven_backbone

CODE = "b@8_11-21-21-1"
KINDS = ["b@8_11-21-21-1", "r@8_1-21-2-1", "x32x4d@16_1-21-2-1"]


def images(height=70, width=101):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def trident(code=CODE, dilations=(1, 2, 3), **named):
    network = read_network(f"trident({code})")
    module = TridentBackbone(network, dilations=dilations, **named).to_empty(device="cpu")
    module.load_state_dict(uneven_backbone(network.inner, 0).state_dict())
    return module.eval()


def test_a_text_names_a_code_and_a_stage():
    network = read_network(f"trident({CODE})")
    assert network == TridentNetwork(Architecture.parse(CODE), 3)
    assert str(network) == f"trident({CODE})"
    other = read_network(f"trident({CODE}, 2)")
    assert other == TridentNetwork(Architecture.parse(CODE), 2)
    assert read_network(str(other)) == other
    assert network.stage_count == 4
    assert network.feature_info.channels() == [8, 16, 32, 32]
    assert read_network("trident(b@8_11)").stage == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"trident({CODE},5)", "branches stage 5, and b@8_11-21-21-1 has 4"),
        (f"trident({CODE}", "at character 8, the \\( is not closed"),
        (f"trident(cb2({CODE}))", "at character 9, it composes cb2.*, and only codes can be composed, as in trident"),
        (f"cb2({CODE},2)", "at character 19, copies that help one another have no stage to name: write cb2"),
        ("trident(b@8_11-21_1-0)", "composes a code with rows"),
    ],
)
def test_what_names_none_is_refused(text, message):
    with pytest.raises(CodeError, match=message):
        read_network(text)


@pytest.mark.parametrize("code", KINDS)
def test_it_has_the_tensors_and_the_cost_of_the_code(code):
    network = read_network(f"trident({code})")
    ours, plain = blank_network(network), Backbone(network.inner)
    assert {n: x.shape for n, x in ours.state_dict().items()} == {n: x.shape for n, x in plain.state_dict().items()}
    cost, own = (backbone_cost(one, 96, 64).as_dict() for one in (network, network.inner))
    assert cost == own


@pytest.mark.parametrize("code", KINDS)
def test_equal_dilations_give_three_times_the_plain_features(code):
    plain = uneven_backbone(Architecture.parse(code), 0).eval()
    module = trident(code, (1, 1, 1))
    for training in (False, True):
        plain.train(training)
        module.train(training)
        expected, spread = plain(torch.cat([images()] * 3)), module.spread(images())
        for name, feature in expected.items():
            torch.testing.assert_close(spread[name], feature, atol=2e-5, rtol=1e-4)


def test_each_branch_is_the_network_with_its_dilation():
    module = trident()
    for number, dilation in enumerate((1, 2, 3)):
        alone = uneven_backbone(Architecture.parse(CODE), 0).eval()
        for block in (alone.blocks[4], alone.blocks[5]):  # of stage 3
            for convolution in (block.conv1, block.conv2):
                convolution.dilation = convolution.padding = (dilation, dilation)
        for name, feature in alone(images()).items():
            torch.testing.assert_close(module.spread(images())[name].chunk(3)[number], feature, atol=1e-5, rtol=1e-5)


def test_called_it_is_the_middle_branch():
    module = trident()
    middle = {name: feature.chunk(3)[1] for name, feature in module.spread(images()).items()}
    for name, feature in module(images()).items():
        torch.testing.assert_close(feature, middle[name], atol=1e-5, rtol=1e-5)
    copied = copy.deepcopy(module)(images())
    assert all(torch.equal(feature, copied[name]) for name, feature in module(images()).items())


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 1), (2, 65)])
def test_sizes_are_those_of_the_code_whatever_the_dilation(size):
    """The branched stage begins with a stride of 2."""
    module = trident()
    plain = {
        name: feature.shape for name, feature in uneven_backbone(Architecture.parse(CODE), 0)(images(*size)).items()
    }
    spread = module.spread(images(*size))
    assert {name: (feature.shape[0] // 3, *feature.shape[1:]) for name, feature in spread.items()} == {
        name: tuple(shape) for name, shape in plain.items()
    }


def test_gradients_of_all_branches_reach_the_one_weight():
    module = trident()
    weight = module.blocks[4].conv1.weight
    gradients = []
    for number in range(3):
        feature = module.spread(images())["s3"].chunk(3)[number]
        gradients.append(torch.autograd.grad(feature.square().sum(), weight)[0])
    (together,) = torch.autograd.grad(module.spread(images())["s3"].square().sum(), weight)
    torch.testing.assert_close(together, sum(gradients), atol=1e-3, rtol=1e-3)
    assert not torch.allclose(gradients[0], gradients[2], rtol=0.01)


def test_fresh_values_are_the_codes_own():
    network = read_network(f"trident({CODE})")
    ours, other = fresh_network(network, seed=3), fresh_network(network.inner, seed=3)
    assert all(torch.equal(x, other.state_dict()[name]) for name, x in ours.state_dict().items())


def test_chosen_stages_alone_are_returned_and_later_ones_not_computed():
    module = trident(out_stages=["s2", "s3"])
    assert list(module.spread(images())) == list(module(images())) == ["s2", "s3"]


def test_a_branch_has_the_bias_of_the_convolution_that_it_is_made_of():
    whole = nn.Conv2d(3, 4, 3, padding=1, bias=True)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(BranchedConvolution(whole, [1])(images), whole(images))
