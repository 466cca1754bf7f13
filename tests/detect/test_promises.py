"""What rewrites promise with each kind of norm."""

from typing import get_args

import pytest
import torch
from tests.support.networks import images, trained_looking

from spnas_core import Architecture, materialise
from spnas_core.inheritance import ChannelMaps, calibrate_pass_through, norm_scales, output_change, plan_inheritance
from spnas_core.inheritance.plan import tensor_shapes
from spnas_core.morphisms import AddRow, AddStage, Expand, Narrow, Rewrite, Swap, Widen, identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_detect.training import convert_norms, is_affine
from spnas_detect.training.norms import NormKind

START = Architecture.parse("b@8_11-21_0-1")
NORMS = get_args(NormKind)


def then(rewrite: Rewrite, following) -> Rewrite:
    return rewrite.then(following(rewrite.child))


KEEPS_LAYERS = [
    identity(START),
    Expand().insert(START, 0, 1),
    AddStage().options(START)[0],
    AddRow().add(START, 2),
    AddRow(shares=True).add(Architecture.parse("r@4_11-21"), 2),
    then(Expand().insert(START, 1, 2), lambda child: AddRow().add(child, 2)),
    then(AddStage().options(START)[0], lambda child: Widen().double(child, 4)),  # the new block, and none before it
]
CHANGES_LAYERS = [
    Widen().double(START, 0),
    Widen().double(START, 3),
    Widen().move(START, 2, 1),
    Widen().double(Architecture.parse("r@4_11-21"), 1),
    then(Expand().insert(START, 1, 2), lambda child: Widen().double(child, 4)),  # a new block behind all others
    then(Expand().insert(START, 0, 1), lambda child: Widen().double(child, 0)),
]


@torch.no_grad()
def change_with(rewrite: Rewrite, norm: NormKind) -> float:
    parent = trained_looking(rewrite.parent, 0)
    state = parent.state_dict()
    maps = ChannelMaps(rewrite, 0, norm_scales(state))
    child, _ = materialise(rewrite, state, generator=torch.Generator().manual_seed(1))
    plan = plan_inheritance(rewrite, tensor_shapes(child), tensor_shapes(parent), maps)
    if is_affine(norm):
        calibrate_pass_through(child, plan.pass_through_norms, images(0, 4))
    before, after = (convert_norms(network, norm).eval() for network in (parent, child))
    return max(output_change(before, after, images(0), maps).values())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rewrite", KEEPS_LAYERS, ids=lambda one: f"{one.parent} to {one.child}")
def test_rewrites_that_keep_all_layers_keep_their_promise_with_every_norm(rewrite, norm):
    promise = rewrite.promise_with(affine_norms=is_affine(norm))
    assert promise == rewrite.promise
    assert change_with(rewrite, norm) <= promise


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rewrite", CHANGES_LAYERS, ids=lambda one: f"{one.parent} to {one.child}")
def test_rewrites_that_change_layers_promise_nothing_with_group_norm(rewrite, norm):
    assert rewrite.promise is not None
    promise = rewrite.promise_with(affine_norms=is_affine(norm))
    assert promise == (None if norm == "group" else rewrite.promise)
    change = change_with(rewrite, norm)
    assert change > 1e-2 if promise is None else change <= promise


@pytest.mark.parametrize("kind", [Swap(), Narrow()], ids=lambda kind: kind.name)
@pytest.mark.parametrize("affine_norms", [True, False])
def test_what_promises_nothing_promises_nothing_with_any_norm(kind, affine_norms):
    assert all(one.promise_with(affine_norms=affine_norms) is None for one in kind.options(START))


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_task_holds_a_child_to_what_is_promised_with_its_norm(tmp_path, norm):
    size = {"image_size": 64, "train": 4, "validation": 2, "test": 2, "max_size": 32, "min_size": 12}
    settings = {"image_size": (64, 64), "data_options": size, "training": {"norm": norm}}
    task = DetectionTask(DetectionSettings.model_validate(settings))
    task.prepare(tmp_path / "cache", lambda *_: None)
    start = Architecture.parse("b@8_1-2")

    def receipt(rewrite, parent=None, weights=None):
        request = EvaluationRequest(0, rewrite, parent, weights, Fidelity(1), 1, 1, "validation")
        return task.evaluate(request, lambda _: None).receipt

    receipt(identity(start), weights=tmp_path / "parent")
    widened, expanded = (
        receipt(rewrite, tmp_path / "parent") for rewrite in (Widen().double(start, 0), Expand().insert(start, 0, 1))
    )
    assert widened["promise"] == (1e-4 if norm == "batch" else None)
    assert (max(widened["output_change"].values()) > 1e-4) == (norm == "group")
    assert expanded["promise"] == 1e-5
    assert widened["broken_promise"] == expanded["broken_promise"] == ""
