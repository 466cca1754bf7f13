import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from spnas_kernels import _library, assign_targets
from spnas_kernels.references import assign_targets as reference

needs_native = pytest.mark.skipif(not _library.is_loaded(), reason="the native library was not built")
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def random_boxes(generator, *shape, size=64, grid=None):
    """Boxes in a square; with a grid, corners that coincide often."""
    corners = torch.rand(*shape, 2, 2, generator=generator) * size
    if grid is not None:
        corners = (corners / grid).floor() * grid
    return torch.cat([corners.amin(-2), corners.amax(-2)], dim=-1)


def torchvisions(boxes, objects, foreground, background, keeps_best):
    """One image without padding, by torchvision."""
    if len(objects) == 0:
        return torch.full((len(boxes),), -1)
    return Matcher(foreground, background, allow_low_quality_matches=keeps_best)(box_iou(objects, boxes))


@pytest.mark.parametrize("keeps_best", [False, True])
@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("device", DEVICES)
def test_assignments_are_torchvisions(seed, keeps_best, device):
    generator = torch.Generator().manual_seed(seed)
    # A regular grid covers everything, so that no object goes without overlap.
    low = torch.cartesian_prod(torch.arange(0, 64, 8.0), torch.arange(0, 64, 8.0))
    boxes = torch.cat([torch.cat([low, low + 8], 1), torch.cat([low - 4, low + 12], 1), random_boxes(generator, 300)])
    counts = torch.randint(0, 9, (4,), generator=generator).tolist()
    objects = random_boxes(generator, 4, 8, grid=4 if seed % 2 else None)
    objects[..., 2:] += 1
    if seed % 2:
        objects[:, 1] = objects[:, 0]  # equal IoUs: the first object wins
    labels = torch.zeros(4, 8, dtype=torch.int64)
    for image, count in enumerate(counts):
        labels[image, :count] = 1
    got = assign_targets(*(t.to(device) for t in (boxes, objects, labels)), 0.7, 0.3, keeps_best=keeps_best).cpu()
    for image, count in enumerate(counts):
        wanted = torchvisions(boxes, objects[image, :count], 0.7, 0.3, keeps_best)
        assert torch.equal(got[image], wanted)


def test_thresholds_belong_to_the_better_side():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    objects = torch.tensor([[[0.0, 0.0, 10.0, 5.0]]])  # IoU exactly 0.5
    labels = torch.ones(1, 1, dtype=torch.int64)
    assert assign_targets(boxes, objects, labels, 0.5, 0.5).tolist() == [[0]]
    assert assign_targets(boxes, objects, labels, 0.6, 0.5).tolist() == [[-2]]
    above = float(torch.tensor(0.5).nextafter(torch.tensor(1.0)))
    assert assign_targets(boxes, objects, labels, above, above).tolist() == [[-1]]
    assert assign_targets(boxes, objects, labels, 0.5 + 1e-12, 0.5 + 1e-12).tolist() == [[-1]]  # no float32 between


def test_the_worked_example():
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    labels = torch.ones(1, 2, dtype=torch.int64)
    high = torch.tensor([[[0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 4.0]]])
    low = torch.tensor([[[0.0, 0.0, 10.0, 4.0], [0.0, 0.0, 10.0, 2.0]]])
    assert assign_targets(boxes, high, labels, 0.7, 0.3).tolist() == [[0]]
    assert assign_targets(boxes, low, labels, 0.7, 0.3).tolist() == [[-2]]
    assert assign_targets(boxes, low, labels, 0.7, 0.3, keeps_best=True).tolist() == [[0]]


@pytest.mark.parametrize("device", DEVICES)
def test_an_object_that_nothing_overlaps_takes_no_box(device):
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]], device=device)
    objects = torch.tensor([[[50.0, 50.0, 60.0, 60.0]]], device=device)
    labels = torch.ones(1, 1, dtype=torch.int64, device=device)
    assert assign_targets(boxes, objects, labels, 0.7, 0.3, keeps_best=True).tolist() == [[-1, -1]]


@pytest.mark.parametrize("device", DEVICES)
def test_what_lies_in_an_ignored_region_is_neither(device):
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [6, 0, 16, 10], [0, 0, 4, 4]], device=device)
    objects = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 4, 4]]], device=device)
    labels = torch.tensor([[-1, 3]], device=device)
    # Shares inside the region: 1, 0.5, 0.4, and 1 for the box that stands for the object.
    assert assign_targets(boxes, objects, labels, 0.7, 0.3).tolist() == [[-2, -2, -1, 1]]
    assert assign_targets(boxes, objects, labels, 0.7, 0.3, ignored_overlap=0.4).tolist() == [[-2, -2, -2, 1]]


SPECIAL = st.sampled_from([0.0, 1.0, 2.0, 3.5, 7.0, 8.0, 1e-30, 1e30, -1.0, float("inf"), float("-inf"), float("nan")])
BOX = st.lists(SPECIAL, min_size=4, max_size=4)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 3).flatmap(
        lambda images: st.tuples(
            st.lists(st.lists(BOX, min_size=5, max_size=5), min_size=images, max_size=images),
            st.lists(st.lists(BOX, min_size=3, max_size=3), min_size=images, max_size=images),
            st.lists(st.lists(st.integers(-1, 2), min_size=3, max_size=3), min_size=images, max_size=images),
        )
    ),
    st.sampled_from([(0.7, 0.3), (0.5, 0.5), (1.0, 0.0), (0.5, 0.4)]),
    st.booleans(),
    st.sampled_from([0.5, 1.0, 0.01]),
)
def test_any_input_gives_what_the_reference_gives(content, thresholds, keeps_best, ignored_overlap):
    boxes, objects, labels = content
    boxes, objects = torch.tensor(boxes).reshape(-1, 5, 4), torch.tensor(objects).reshape(-1, 3, 4)
    labels = torch.tensor(labels, dtype=torch.int64).reshape(-1, 3)
    got = assign_targets(boxes, objects, labels, *thresholds, keeps_best=keeps_best, ignored_overlap=ignored_overlap)
    wanted = reference.assign_targets(boxes, objects, labels, *thresholds, keeps_best, ignored_overlap)
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("background", "row"), [(0.3, -1), (0.0, -2)])
def test_without_objects_boxes_are_background_where_an_iou_of_zero_is(device, background, row):
    boxes, objects, labels = torch.rand(2, 5, 4), torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64)
    got = assign_targets(boxes.to(device), objects.to(device), labels.to(device), 0.7, background, keeps_best=True)
    assert (got == row).all()
    assert torch.equal(got.cpu(), reference.assign_targets(boxes, objects, labels, 0.7, background, True, 0.5))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 4095, 4096, 4097, 20_000])
def test_any_number_of_boxes_gives_what_the_reference_gives(count, device):
    generator = torch.Generator().manual_seed(count)
    boxes = random_boxes(generator, 3, count, size=400)
    objects = random_boxes(generator, 3, 40, size=400)
    labels = torch.randint(-1, 3, (3, 40), generator=generator)
    got = assign_targets(*(t.to(device) for t in (boxes, objects, labels)), 0.5, 0.4, keeps_best=True).cpu()
    assert torch.equal(got, reference.assign_targets(boxes, objects, labels, 0.5, 0.4, True, 0.5))
    if count > 4000:
        assert set(got.unique().tolist()) >= {-2, -1}
        assert (got >= 0).any()


def test_shared_boxes_are_those_of_each_image():
    generator = torch.Generator().manual_seed(0)
    boxes, objects = random_boxes(generator, 5000), random_boxes(generator, 3, 9)
    labels = torch.randint(-1, 3, (3, 9), generator=generator)
    shared = assign_targets(boxes, objects, labels, 0.5, 0.4, keeps_best=True)
    assert torch.equal(shared, assign_targets(boxes.expand(3, -1, -1), objects, labels, 0.5, 0.4, keeps_best=True))


def test_the_reference_works_through_many_boxes_in_parts(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    boxes, objects = random_boxes(generator, 500), random_boxes(generator, 2, 9)
    labels = torch.randint(-1, 3, (2, 9), generator=generator)
    whole = reference.assign_targets(boxes, objects, labels, 0.5, 0.4, True, 0.5)
    monkeypatch.setattr(reference, "PART", 18 * 7)
    assert torch.equal(reference.assign_targets(boxes, objects, labels, 0.5, 0.4, True, 0.5), whole)


@needs_native
@pytest.mark.parametrize("device", DEVICES)
def test_operator_passes_opcheck(device):
    generator = torch.Generator().manual_seed(0)
    objects = random_boxes(generator, 2, 4).to(device)
    labels = torch.ones(2, 4, dtype=torch.int64, device=device)
    for boxes in (random_boxes(generator, 70), random_boxes(generator, 2, 70)):
        torch.library.opcheck(torch.ops.spnas.assign_targets, (boxes.to(device), objects, labels, 0.7, 0.3, True, 0.5))


BOXES, OBJECTS, LABELS = torch.zeros(5, 4), torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((BOXES[:, :3], OBJECTS, LABELS, 0.7, 0.3), "boxes must be Tensor"),
        ((BOXES.expand(3, 5, 4), OBJECTS, LABELS, 0.7, 0.3), r"for 2 images, Tensor\[2, A, 4\]"),
        ((BOXES, OBJECTS[0], LABELS, 0.7, 0.3), r"objects must be Tensor\[N, G, 4\]"),
        ((BOXES, OBJECTS, LABELS[:, :2], 0.7, 0.3), "labels must be Tensor"),
        ((BOXES.double(), OBJECTS, LABELS, 0.7, 0.3), "boxes must be float32, not torch.float64"),
        ((BOXES, OBJECTS, LABELS.int(), 0.7, 0.3), "labels must be int64"),
        ((BOXES, OBJECTS.to("meta"), LABELS, 0.7, 0.3), "objects must be on the boxes' device cpu"),
        ((BOXES, OBJECTS, LABELS, 0.3, 0.7), "foreground is 0.3 and background 0.7"),
        ((BOXES, OBJECTS, LABELS, 1.5, 0.7), "foreground is 1.5"),
        ((BOXES, OBJECTS, LABELS, float("nan"), 0.7), "foreground is nan"),
    ],
)
def test_wrong_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        assign_targets(*arguments)


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match=r"ignored_overlap must be in \(0, 1\]"):
        assign_targets(BOXES, OBJECTS, LABELS, 0.7, 0.3, ignored_overlap=share)
