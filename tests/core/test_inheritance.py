import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spnas_core import Architecture, Backbone, build_backbone, materialise
from spnas_core.inheritance import (
    InheritancePlan,
    Init,
    TensorCopy,
    TensorFill,
    calibrate_pass_through,
    copy_weights_,
    fill_,
    fill_module,
    fresh_plan,
    plan_inheritance,
    write_receipt,
)
from spnas_core.inheritance.plan import tensor_shapes
from spnas_core.morphisms import AddStage, Expand, Swap, identity
from spnas_core.testing import serial_architectures

ONES, ZEROS, DIRAC = Init("ones"), Init("zeros"), Init("dirac")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on_meta(make) -> nn.Module:
    with torch.device("meta"):
        return make()


def test_copies_are_written_in_place_and_converted():
    targets = [torch.zeros(2, 3), torch.zeros(4, dtype=torch.float16)]
    sources = [torch.arange(6.0).view(2, 3), torch.arange(4.0)]
    kept = list(targets)
    copy_weights_(targets, sources)
    assert all(torch.equal(target, source.to(target.dtype)) for target, source in zip(kept, sources, strict=True))
    copy_weights_([], [])


def test_copying_refuses_differing_counts():
    with pytest.raises(ValueError, match="2 destinations for 1 sources: one each is needed"):
        copy_weights_([torch.zeros(1), torch.zeros(1)], [torch.zeros(1)])


def test_copying_refuses_differing_shapes_before_it_writes_anything():
    first = torch.zeros(3)
    with pytest.raises(ValueError, match=r"destination 1 has shape \(2, 1\), its source \(2,\): they must agree"):
        copy_weights_([first, torch.zeros(2, 1)], [torch.ones(3), torch.ones(2)])
    assert not first.any()


def test_a_plan_that_misses_tensors_is_refused():
    module = on_meta(lambda: nn.Linear(2, 3))
    plan = InheritancePlan(fills=(TensorFill("weight", ONES),))
    with pytest.raises(ValueError, match="the plan leaves 1 tensors without values, 'bias' among them"):
        fill_module(module, plan, {})
    backbone = Backbone(Architecture.parse("b@4_1-1"))
    whole = fresh_plan(backbone)
    with pytest.raises(ValueError, match="leaves 3 tensors"):
        fill_module(backbone, InheritancePlan(fills=whole.fills[3:]), {})


def test_filled_modules_leave_the_meta_device_and_keep_what_trains():
    module = on_meta(lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    module[0].bias.requires_grad_(requires_grad=False)
    fill_module(module, fresh_plan(module, lambda name, shape: ONES), {})
    assert {tensor.device.type for tensor in module.state_dict().values()} == {"cpu"}
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["0.bias"]
    assert all((tensor == 1).all() for tensor in module.state_dict().values())


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("channels", [1, 3, 8])
def test_a_dirac_convolution_passes_its_input_through(kernel, channels):
    weight = torch.full((channels, channels, kernel, kernel), torch.nan)
    fill_(weight, DIRAC)
    x = torch.randn(2, channels, 7, 9, generator=generator())
    assert torch.equal(nn.functional.conv2d(x, weight, padding=kernel // 2), x)


@pytest.mark.parametrize(
    ("kind", "bound", "std"),
    [("xavier-uniform", (3 / 288) ** 0.5, (1 / 288) ** 0.5), ("he-normal", None, (2 / 576) ** 0.5)],
)
def test_random_first_values_have_the_spread_of_their_formula(kind, bound, std):
    weight = torch.full((64, 32, 3, 3), torch.nan)
    fill_(weight, Init(kind), generator())
    assert weight.std().item() == pytest.approx(std, rel=0.02)
    if bound is not None:
        assert 0.99 * bound < weight.abs().max() <= bound
    normal = torch.full((1000,), torch.nan)
    fill_(normal, Init("normal", 0.01), generator())
    assert normal.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("shape", [(16, 8, 1, 1), (8, 16, 3, 3), (12, 12, 5, 5), (1, 7, 3, 3)])
def test_a_delta_orthogonal_convolution_turns_its_input_without_loss(shape):
    weight = torch.full(shape, torch.nan)
    fill_(weight, Init("delta-orthogonal"), generator())
    centre = weight[:, :, shape[2] // 2, shape[3] // 2].clone()
    assert weight.count_nonzero() == centre.count_nonzero() == centre.numel()
    values = torch.linalg.svdvals(centre)  # alike: nothing is lost of the smaller side's space
    torch.testing.assert_close(values, values[:1].expand_as(values))
    assert weight.square().sum().item() == pytest.approx(shape[0])  # outputs have inputs' mean square on average
    again = torch.empty(shape)
    fill_(again, Init("delta-orthogonal"), generator())
    assert torch.equal(again, weight)
    fill_(again, Init("delta-orthogonal"), torch.Generator().manual_seed(99))
    assert not torch.equal(again, weight)


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3), st.just(3)),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3), st.just(3)),
)
def test_an_overlap_copies_the_common_part_over_a_filled_tensor(shape, source_shape):
    module = on_meta(lambda: nn.Conv2d(shape[1], shape[0], 3, bias=False))
    source = torch.randn(source_shape, generator=generator())
    plan = InheritancePlan((TensorCopy("weight", "old", overlap=True),), (TensorFill("weight", ZEROS),))
    fill_module(module, plan, {"old": source})
    rows, columns = min(shape[0], source_shape[0]), min(shape[1], source_shape[1])
    expected = torch.zeros(shape)
    expected[:rows, :columns] = source[:rows, :columns]
    assert torch.equal(module.weight, expected)
    receipt = write_receipt(module, plan)
    assert (receipt.copied, receipt.expanded, receipt.new) == (0, module.weight.numel(), 0)


def test_copies_go_through_the_given_copier_in_one_call():
    calls = []

    def counting(destinations, sources):
        calls.append(len(destinations))
        copy_weights_(destinations, sources)

    architecture = Architecture.parse("b@4_11-21")
    parent = build_backbone(architecture).state_dict()
    child, _ = materialise(identity(architecture), parent, copier=counting)
    assert calls == [len(parent)]
    assert all(torch.equal(tensor, parent[name]) for name, tensor in child.state_dict().items())


def test_a_child_does_not_share_memory_with_its_parent():
    architecture = Architecture.parse("b@4_1-1")
    parent = build_backbone(architecture).state_dict()
    before = {name: tensor.clone() for name, tensor in parent.items()}
    child, _ = materialise(identity(architecture), parent)
    with torch.no_grad():
        for tensor in child.state_dict().values():
            tensor.add_(1)
    assert all(torch.equal(parent[name], tensor) for name, tensor in before.items())


@settings(max_examples=40)
@given(serial_architectures(), st.sampled_from([Swap(), Expand(), AddStage()]), st.integers(0, 2**31))
def test_receipts_add_up(architecture, morphism, seed):
    options = morphism.options(architecture)
    if not options:
        return
    parent = build_backbone(architecture).state_dict()
    child, receipt = materialise(options[seed % len(options)], parent, generator=generator(seed))
    parameters = sum(parameter.numel() for parameter in child.parameters())
    assert receipt.copied + receipt.expanded + receipt.new == parameters
    assert receipt.expanded == 0
    new = sum(p.numel() for name, p in child.named_parameters() if name.rpartition(".")[0] in receipt.added)
    assert receipt.new == new
    assert receipt.inherited_percent == pytest.approx(100 * receipt.copied / parameters)
    assert receipt.as_dict()["inherited_percent"] == receipt.inherited_percent
    assert f"{receipt.copied:,} copied" in str(receipt)


def test_a_receipt_of_nothing_divides_by_nothing():
    receipt = write_receipt(nn.Identity(), InheritancePlan())
    assert (receipt.copied, receipt.expanded, receipt.new, receipt.inherited_percent) == (0, 0, 0, 0.0)


@settings(max_examples=30)
@given(serial_architectures(), st.data())
def test_what_is_missing_in_the_parents_state_starts_anew_and_the_rest_is_inherited(architecture, data):
    lively = build_backbone(architecture, generator=generator()).state_dict()
    for tensor in lively.values():
        if tensor.dim() == 1:
            tensor.uniform_(2, 3, generator=generator())
    candidates = [name for name in sorted(lively) if ".projection." not in name]
    missing = data.draw(st.sets(st.sampled_from(candidates), max_size=len(candidates) - 1))
    parent = {name: tensor for name, tensor in lively.items() if name not in missing}
    child, receipt = materialise(identity(architecture), parent, generator=generator(1))
    state, parameters = child.state_dict(), dict(child.named_parameters())
    for name, tensor in parent.items():
        assert torch.equal(state[name], tensor), name
    for name in missing:
        if state[name].dim() == 1:
            first = 1.0 if name.endswith(("weight", "running_var")) else 0.0
            assert (state[name] == first).all(), name
        elif state[name].dim() == 4:
            assert state[name].isfinite().all()
            assert not torch.equal(state[name], lively[name]), name
    assert receipt.new == sum(parameters[name].numel() for name in missing if name in parameters)
    assert receipt.dropped == ()


@settings(max_examples=30)
@given(serial_architectures(), st.sampled_from([Expand(), AddStage()]), st.integers(0, 2**31))
def test_a_child_without_any_inherited_tensor_is_a_fresh_network(architecture, morphism, seed):
    options = morphism.options(architecture)
    rewrite = options[seed % len(options)]
    child, receipt = materialise(rewrite, {}, generator=generator(seed))
    fresh = build_backbone(rewrite.child, generator=generator(seed)).state_dict()
    state = child.state_dict()
    assert state.keys() == fresh.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in fresh.items())
    assert all((m.weight == 1).all() for m in child.modules() if isinstance(m, nn.BatchNorm2d))
    assert (receipt.copied, receipt.inherited_percent) == (0, 0.0)
    shapes = tensor_shapes(child)
    assert plan_inheritance(rewrite, shapes, {}).pass_through_norms == ()


def test_a_new_block_is_silent_and_a_new_projection_passes_through():
    architecture = Architecture.parse("b@4_11-1")
    parent = build_backbone(architecture).state_dict()
    grown, _ = materialise(Expand().options(architecture)[0], parent)
    assert not grown.blocks[1].bn2.weight.any()
    assert not grown.blocks[1].bn2.bias.any()
    assert (grown.blocks[1].bn1.weight == 1).all()
    (swapped,) = Swap().options(architecture)
    child, receipt = materialise(swapped, parent)
    assert torch.equal(child.blocks[1].projection.conv.weight, torch.eye(4).view(4, 4, 1, 1))
    assert receipt.added == ("blocks.1.projection.conv", "blocks.1.projection.bn")
    assert {name.rpartition(".")[0] for name in receipt.dropped} == {
        "blocks.2.projection.conv",
        "blocks.2.projection.bn",
    }


def test_a_prefixed_plan_names_both_sides_and_plans_add_up():
    plan = InheritancePlan((TensorCopy("a", "b"),), (TensorFill("c", ONES),), ("d",), ("e",))
    moved = plan.prefixed("backbone.")
    assert moved.copies == (TensorCopy("backbone.a", "backbone.b"),)
    assert moved.fills == (TensorFill("backbone.c", ONES),)
    assert moved.dropped == ("backbone.d",)
    assert moved.pass_through_norms == ("backbone.e",)
    both = plan + moved
    assert both.copies == plan.copies + moved.copies
    assert both.dropped == ("d", "backbone.d")
    assert both.pass_through_norms == ("e", "backbone.e")


def test_only_norms_with_running_statistics_are_calibrated():
    backbone = build_backbone("b@4_1-1")
    with pytest.raises(TypeError, match="only BatchNorm2d with running statistics"):
        calibrate_pass_through(backbone, ("stem.conv1",), torch.zeros(2, 3, 32, 32))
    assert backbone.training
