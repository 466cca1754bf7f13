"""What grouped NMS refuses: wrong shapes, dtypes, devices and thresholds, and NaN."""

import sys

import pytest
import torch
from torch import Tensor

from spnas_kernels import _library, nms_grouped, nms_grouped_padded

needs_native = pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built")


def box_list(count: int = 3) -> Tensor:
    """Unit squares beside each other."""
    left = torch.arange(count)[:, None].float()
    return torch.cat([left, left, left + 1, left + 1], 1)


ZEROS = torch.zeros(3, dtype=torch.int64)
BAD = [
    ({"boxes": torch.zeros(4)}, r"boxes must be Tensor\[K, 4\], not of shape \(4,\)"),
    ({"boxes": torch.zeros(3, 5)}, r"boxes must be Tensor\[K, 4\], not of shape \(3, 5\)"),
    ({"boxes": torch.zeros(1, 3, 4)}, r"boxes must be Tensor\[K, 4\], not of shape \(1, 3, 4\)"),
    ({"scores": torch.zeros(2)}, r"scores must be Tensor\[K\], one for each box \(3,\), not of shape \(2,\)"),
    ({"groups": ZEROS[:2]}, r"groups must be Tensor\[K\], one for each box \(3,\), not of shape \(2,\)"),
    ({"scores": torch.zeros(3, device="meta")}, "scores must be on the boxes' device cpu, not on meta"),
    ({"groups": ZEROS.to("meta")}, "groups must be on the boxes' device cpu, not on meta"),
    ({"boxes": box_list().long()}, "boxes must be float64, float32, float16 or bfloat16, not torch.int64"),
    ({"scores": ZEROS}, "scores must be float64, float32, float16 or bfloat16, not torch.int64"),
    ({"groups": torch.zeros(3)}, "groups must be int64, not torch.float32"),
    ({"iou_threshold": 1.5}, r"iou_threshold must be in \[0, 1\], not 1.5"),
    ({"iou_threshold": -0.1}, r"iou_threshold must be in \[0, 1\], not -0.1"),
    ({"iou_threshold": float("nan")}, r"iou_threshold must be in \[0, 1\], not nan"),
    ({"max_keep": -1}, "max_keep must be at least 0, not -1"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    """With what must hold and what came."""
    given_ = {
        "boxes": box_list(),
        "scores": torch.ones(3),
        "groups": ZEROS,
        "iou_threshold": 0.5,
        "max_keep": 3,
    } | change
    with pytest.raises(ValueError, match=f"^{message}$"):
        nms_grouped(**given_)


def test_bad_padded_input_is_refused() -> None:
    """By its own shapes."""
    with pytest.raises(ValueError, match=r"^boxes must be Tensor\[N, B, 4\], not of shape \(3, 4\)$"):
        nms_grouped_padded(box_list(), torch.ones(3), ZEROS, 0.5, 3)
    with pytest.raises(
        ValueError, match=r"^scores must be Tensor\[N, B\], one for each box \(1, 3\), not of shape \(3, 1\)$"
    ):
        nms_grouped_padded(box_list()[None], torch.ones(3, 1), ZEROS[None], 0.5, 3)
    with pytest.raises(ValueError, match=r"^max_keep must be at least 0, not -1$"):
        nms_grouped_padded(box_list()[None], torch.ones(1, 3), ZEROS[None], 0.5, -1)


def test_too_many_boxes_are_refused() -> None:
    """Before any memory is taken."""
    count = 2**29 + 1
    with pytest.raises(
        ValueError, match=r"^boxes must hold at most 2\*\*31 coordinates, not 2147483652: split the call$"
    ):
        nms_grouped(torch.zeros(1, 4).expand(count, 4), torch.zeros(1).expand(count), ZEROS[:1].expand(count), 0.5)


@pytest.mark.parametrize(
    "run", [nms_grouped, lambda *args: nms_grouped_padded(*(a[None] for a in args[:3]), args[3], 3)]
)
@pytest.mark.parametrize("native", [True, False])
def test_nan_is_refused_on_the_cpu(run: object, native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the native operators and by the reference."""
    if not native:
        for module in (sys.modules["spnas_kernels.nms_grouped"],):
            monkeypatch.setattr(module, "is_native", lambda tensor: False)
    boxes, scores = box_list(), torch.ones(3)
    boxes[1, 2] = torch.nan
    with pytest.raises(RuntimeError, match="boxes must not hold NaN: the one of box 1 does"):
        run(boxes, scores, ZEROS, 0.5)
    scores[2] = torch.nan
    with pytest.raises(RuntimeError, match="scores must not hold NaN: the one of box 2 does"):
        run(box_list(), scores, ZEROS, 0.5)


@pytest.mark.gpu
def test_nan_is_masked_on_cuda() -> None:
    """Neither kept nor in the way."""
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(3, 1).cuda()
    boxes[0, 0] = torch.nan
    scores = torch.tensor([3.0, torch.nan, 1.0]).cuda()
    assert nms_grouped(boxes, scores, ZEROS.cuda(), 0.5).tolist() == [2]


@needs_native
def test_operators_check_for_themselves() -> None:
    """Calls around the Python functions meet errors, not memory."""
    with pytest.raises(RuntimeError, match="boxes must have 2 dimensions, the last of size 4"):
        torch.ops.spnas.nms_grouped(torch.zeros(3, 5), torch.zeros(3), ZEROS, 0.5)
    with pytest.raises(RuntimeError, match="there are 3 boxes in dimension 0, 2 scores and 3 groups"):
        torch.ops.spnas.nms_grouped(box_list(), torch.zeros(2), ZEROS, 0.5)
    with pytest.raises(RuntimeError, match="groups must be int64"):
        torch.ops.spnas.nms_grouped(box_list(), torch.zeros(3), torch.zeros(3), 0.5)
