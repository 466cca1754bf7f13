"""Parts that a child keeps of its parent's detector where sizes differ, and terms of a neck's cell that stay."""

import pytest
import torch
from torch.nn import functional

from spnas_core import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_detect.data import pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.heads.focal import focal_sums
from spnas_detect.heads.sampling import sample
from spnas_detect.necks.cell_text import format_cell, parse_cell
from spnas_detect.necks.dpc import _averages
from spnas_detect.necks.rewiring import Rewire, changes

CODE = Architecture.parse("b@8_1-2~merge:o0@0=sep3(in0)+skip(in1);o1@1=sep3(in1)")


def tensors(rewrite, parent=None, **values):
    settings = DetectorSettings(**{"neck_channels": 8, "head_channels": 16, **values})
    generator = torch.Generator().manual_seed(0 if parent is None else 1)
    return build_detector(rewrite, 2, settings, parent or {}, generator=generator)[0].state_dict()


@pytest.mark.parametrize(("operation", "side"), [("sep5", 5), ("dil5", None)])
def test_a_larger_kernel_computes_what_the_smaller_one_did(operation, side):
    parent, name = tensors(identity(CODE)), "neck.stack.0.out0.0.depthwise.weight"
    detail = f"out0 applies {operation} to in0, not sep3"
    rewrite = next(one for one in Rewire().options(CODE) if one.steps[0].detail == detail)
    child = tensors(rewrite, parent)
    if side is not None:
        small, large = parent[name], child[name]
        assert torch.equal(large[..., 1:4, 1:4], small)
        assert large.count_nonzero() == small.count_nonzero()
        x = torch.randn(1, len(small), 9, 9)
        options = {"groups": len(small)}
        torch.testing.assert_close(
            functional.conv2d(x, large, padding=2, **options), functional.conv2d(x, small, padding=1, **options)
        )


def test_a_smaller_kernel_keeps_the_middle():
    code = Architecture.parse("b@8_1-2~merge:o0@0=sep5(in0)+skip(in1);o1@1=sep3(in1)")
    parent, name = tensors(identity(code)), "neck.stack.0.out0.0.depthwise.weight"
    detail = "out0 applies sep3 to in0, not sep5"
    rewrite = next(one for one in Rewire().options(code) if one.steps[0].detail == detail)
    assert torch.equal(tensors(rewrite, parent)[name], parent[name][..., 1:4, 1:4])


def test_a_head_that_pools_other_cells_reads_them_anew_and_one_of_other_channels_does_not():
    code, name = Architecture.parse("b@4_1-2"), "roi_heads.box_head.fc6.weight"
    parent = tensors(identity(code), pooled_size=7)
    other = tensors(identity(code), parent, pooled_size=5)[name]
    assert not torch.equal(other[:, :25], parent[name][:, :25])
    wider = tensors(identity(code), parent, pooled_size=7, neck_channels=16)[name]
    assert torch.equal(wider[:, : 8 * 49], parent[name])


@pytest.mark.parametrize(
    "text",
    [
        "o0@0=in0+in1+in2;o1@1=in1+o0;o2@2=in2+o1",
        "m@1=gp(in2,in1);o0@0=in0+m+in2;o1@1=m+o0;o2@2=gp(o1,o0)+in2",
        "m@0=in0+in1;o0@0=gp(in1,in0)+m;o1@1=m+o0;o2@2=in2+o1",
    ],
)
def test_a_change_leaves_all_terms_of_the_other_merges(text):
    cell = parse_cell(text)
    for change in changes(cell):
        after = {merge.name: merge for merge in change.cell}
        assert parse_cell(format_cell(change.cell)) == change.cell
        for merge in cell:
            if not change.detail.startswith(f"{merge.name} ") and "comes before" not in change.detail:
                had, has = ({*one.sources, *one.added} for one in (merge, after[merge.name]))
                unread = {f"in{merge.level}", *(other.name for other in cell if other.level == merge.level)}
                assert had - has <= unread, f"{change.detail}: {merge.name} lost {had - has}"


@pytest.mark.parametrize("text", ["o0@0=in00+in1;o1@1=in1+o0", "o0@0=in0+in00;o1@1=in1+o0"])
def test_an_input_has_one_name(text):
    with pytest.raises(ConfigError, match="in00"):
        parse_cell(text)


@pytest.mark.parametrize("grid", [(1, 1), (2, 4), (3, 5), (7, 11)])
def test_averages_over_a_grid_are_torchs_and_have_a_deterministic_gradient(grid):
    x = torch.randn(2, 3, 7, 11, dtype=torch.float64)
    torch.testing.assert_close(_averages(x, grid), functional.adaptive_avg_pool2d(x, grid))


def test_a_second_derivative_of_the_focal_loss_is_refused():
    logits = torch.randn(1, 4, 3, requires_grad=True)
    loss = focal_sums(logits, torch.tensor([[1, 0, 2, -1]]), 0.25, 2.0).sum()
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        torch.autograd.grad(loss, logits, create_graph=True)


def test_targets_have_a_row_and_few_samples_a_positive():
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    with pytest.raises(ValueError, match="targets have 0 rows"):
        pad_targets([nothing], [(64, 64)], rows=0)
    drawn = sample(torch.ones(1, 9).bool(), torch.zeros(1, 9).bool(), 3, 0.25, torch.rand(1, 9))
    assert int(drawn.is_positive.sum()) == 1
