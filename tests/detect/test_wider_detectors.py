"""Detectors of wider, narrower and parallel backbones: what they inherit from their parent's."""

import pytest
import torch

from spnas_core import Architecture
from spnas_core.inheritance import calibrate_pass_through
from spnas_core.morphisms import AddRow, Halve, Narrow, Rewrite, Widen, identity
from spnas_core.networks import Statistics
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.detectors.building import BACKBONE
from spnas_detect.training import convert_norms, load_weights, save_weights

START = Architecture.parse("b@4_11-21-21")


def build(rewrite: Rewrite, parent=None, neck: str = "fpn", seed: int = 1):
    settings = DetectorSettings(neck=neck, neck_channels=8, head_channels=16)
    generator = torch.Generator().manual_seed(seed)
    return build_detector(rewrite, 3, settings, parent or {}, generator=generator, seed=seed)


@torch.no_grad()
def trained(code: Architecture, neck: str = "fpn"):
    """A detector whose norms and biases are as uneven as after a training."""
    detector, _, _ = build(identity(code), neck=neck)
    torch.manual_seed(0)
    for name, tensor in detector.state_dict().items():
        if tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if name.endswith(("weight", "var", "fusion")) else tensor.normal_(0, 0.2)
    return detector.eval()


def images(count: int = 4) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def child_of(parent, rewrite: Rewrite, neck: str = "fpn"):
    child, plan, receipt = build(rewrite, parent.state_dict(), neck)
    calibrate_pass_through(child.backbone, [n.removeprefix(BACKBONE) for n in plan.pass_through_norms], images())
    return child.eval(), plan, receipt


@torch.no_grad()
@pytest.mark.parametrize("neck", ["fpn", "pafpn", "bifpn", "nas-fpn", "hrfpn"])
@pytest.mark.parametrize(
    "rewrite",
    [
        Widen().double(START, 1),
        Widen().double(START, 5),
        Widen().move(START, 4, 3),
        Widen().double(START, 0).then(Widen().double(Architecture.parse("b@4_21-21-21"), 3)),
        AddRow().add(START, 2),
        AddRow(shares=True).add(START, 3),
    ],
    ids=lambda rewrite: str(rewrite.child),
)
def test_a_widened_detector_computes_what_its_parent_computes(rewrite, neck):
    parent = trained(START, neck)
    child, plan, receipt = child_of(parent, rewrite, neck)
    assert rewrite.promise is not None
    before, after = (one.neck(one.backbone(images())) for one in (parent, child))
    for level, features in before.items():
        torch.testing.assert_close(after[level], features, atol=1e-4, rtol=1e-4)
    assert not any(copy.overlap for copy in plan.copies)
    assert receipt.copied + receipt.expanded + receipt.new == sum(p.numel() for p in child.parameters())


@torch.no_grad()
@pytest.mark.parametrize("neck", ["fpn", "pafpn", "bifpn", "nas-fpn", "hrfpn"])
@pytest.mark.parametrize(
    "rewrite", [Narrow().move(START, 2, 3), Halve().halve(START, 2)], ids=lambda one: str(one.child)
)
def test_laterals_of_a_narrowed_detector_keep_the_channels_that_stay(rewrite, neck):
    parent = trained(START, neck)
    child, plan, _ = child_of(parent, rewrite, neck)
    assert not any(copy.overlap for copy in plan.copies)
    assert all(torch.isfinite(level).all() for level in child.neck(child.backbone(images())).values())


@pytest.mark.parametrize("norm", ["batch", "sync", "group", "frozen"])
def test_rows_that_share_weights_train_with_every_norm(norm):
    detector, _, _ = build(identity(Architecture.parse("b@4_11-21_1-2s")))
    convert_norms(detector, norm)
    statistics = [module for module in detector.modules() if isinstance(module, Statistics)]
    own = [name for module in statistics for name, _ in module.named_buffers()]
    assert bool(own) == (norm in {"batch", "sync"})
    before = {name: tensor.clone() for name, tensor in detector.named_buffers()}
    detector.train()
    sum(level.square().mean() for level in detector.backbone(images()).values()).backward()
    moved = {name for name, tensor in detector.named_buffers() if not torch.equal(tensor, before[name])}
    rows = {name for name, _ in detector.named_buffers() if ".rows." in name or ".fusions." in name}
    assert rows <= moved if norm in {"batch", "sync"} else not moved


def test_shared_tensors_are_stored_once(tmp_path):
    shared, own = (build(identity(Architecture.parse(f"b@4_11-21_1-2{s}")))[0] for s in ("s", ""))
    for detector, name in ((shared, "shared"), (own, "own")):
        save_weights(detector, tmp_path / name, {})
        tensors = load_weights(tmp_path / name)
        again, _, receipt = build(identity(detector.backbone.architecture), tensors, seed=2)
        assert receipt.new == 0
        assert all(torch.equal(tensor, tensors[key]) for key, tensor in again.state_dict().items())
        parameters = sum(tensor.numel() for key, tensor in tensors.items() if "running" not in key)
        tracked = sum("num_batches" in key for key in tensors)
        assert parameters - tracked == sum(p.numel() for p in detector.parameters())
    assert (tmp_path / "shared").stat().st_size < 0.8 * (tmp_path / "own").stat().st_size


def test_a_parallel_detector_compiles_as_one_graph():
    detector = trained(Architecture.parse("b@4_11-21_1-2s"))
    compiled = torch.compile(detector.backbone, backend="eager", fullgraph=True)
    for level, features in detector.backbone(images()).items():
        torch.testing.assert_close(compiled(images())[level], features, rtol=0, atol=0)
