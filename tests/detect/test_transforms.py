import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms import v2

from spnas_core.errors import DataError
from spnas_detect.data import DetectionData, ImageRecord, Loader, build_cache, pad_targets, train_augmentation
from spnas_detect.data.targets import IGNORED
from spnas_detect.heads import Rule, assign
from spnas_detect.heads.assignment import NEITHER

FULL = {"scale_range": (0.5, 1.5)}


def rng(seed=0):
    return np.random.default_rng(seed)


def white_square(box):
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    x1, y1, x2, y2 = box
    image[:, y1:y2, x1:x2] = 255
    return image


def black():
    return torch.zeros(3, 64, 96, dtype=torch.uint8)


@pytest.mark.parametrize("options", [{"flip": 1.0}, {"scale_range": (0.4, 2.0)}, {"flip": 0.5, "scale_range": (1, 1)}])
def test_boxes_stay_around_their_pixels(options):
    augment = train_augmentation(**options, min_visible=0)
    draws = rng()
    box = (20, 10, 52, 33)
    seen = set()
    for _ in range(40):
        image, boxes, labels = augment(white_square(box), torch.tensor([box]).float(), torch.tensor([1]), draws)
        assert image.shape == (3, 64, 96)
        assert image.dtype == torch.uint8
        assert boxes.dtype == torch.float32
        ys, xs = torch.nonzero(image[0] > 127, as_tuple=True)
        if len(boxes) == 0:
            assert len(ys) <= 2 * 96
            continue
        tight = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert (boxes[0] - tight).abs().max() <= 1.5
        assert labels.tolist() == [1]
        seen.add(tuple(tight.tolist()))
    assert len(seen) > 1 or options == {"flip": 1.0}
    assert (20, 10, 52, 33) not in seen or options != {"flip": 1.0}


def test_flip_agrees_with_torchvision():
    image = torch.from_numpy(rng().integers(0, 256, (3, 64, 96), dtype=np.uint8))
    boxes = torch.tensor([[3.0, 4, 30, 40], [0, 0, 96, 64]])
    peer = v2.RandomHorizontalFlip(1.0)(
        {
            "image": tv_tensors.Image(image),
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(64, 96)),
        }
    )
    flipped = train_augmentation(flip=1)(image, boxes, torch.tensor([1, 2]), rng())
    assert torch.equal(flipped[0], peer["image"])
    assert torch.equal(flipped[1], peer["boxes"])
    assert train_augmentation(flip=0)(image, boxes, torch.tensor([1, 2]), rng())[0] is image


def test_shrunk_images_lie_on_zeros_in_different_places():
    augment = train_augmentation(flip=0, scale_range=(0.5, 0.5))
    white = torch.full((3, 64, 96), 255, dtype=torch.uint8)
    draws, places = rng(), set()
    for _ in range(20):
        image, boxes, _ = augment(white, torch.tensor([[0.0, 0, 96, 64]]), torch.tensor([1]), draws)
        assert sorted(image.unique().tolist()) == [0, 255]
        x1, y1, x2, y2 = (round(value) for value in boxes[0].tolist())
        assert (x2 - x1, y2 - y1) == (48, 32)
        assert (image[:, y1:y2, x1:x2] == 255).all()
        assert (image == 255).sum() == 3 * 48 * 32
        places.add((x1, y1))
    assert len(places) > 10


def test_labels_stay_with_their_boxes():
    augment = train_augmentation(flip=0, scale_range=(2.0, 2.0))
    boxes = torch.tensor([[x, y, x + 10.0, y + 10.0] for x in range(0, 86, 12) for y in range(0, 52, 12)])
    labels = torch.arange(len(boxes)) + 1
    boxes[:, 2:] -= 4 * (labels % 2)[:, None]  # odd labels are small
    _, kept, kept_labels = augment(black(), boxes, labels, rng())
    assert 0 < len(kept) == len(kept_labels) < len(boxes)
    inside = ((kept[:, :2] > 0) & (kept[:, 2:] < torch.tensor([96, 64]))).all(1)
    assert inside.any()
    sides = kept[inside, 2] - kept[inside, 0]
    assert torch.allclose(sides, 2.0 * (10 - 4 * (kept_labels[inside] % 2)))


@pytest.mark.parametrize("scale", [None, (1.0, 1.0)])
def test_what_no_crop_cuts_is_learnt_whatever_its_image_was_rounded_to(tmp_path, scale):
    """Of 100x33 pixels 50x16 are left, and a box as high as the image has 16.5."""
    record = ImageRecord(
        name="flat",
        read=lambda: np.full((33, 100, 3), 200, np.uint8),
        width=100,
        height=33,
        boxes=np.array([[0, 0, 100, 33]], np.float32),
        labels=np.array([1]),
        ignore=np.array([False]),
    )
    data = DetectionData("flat", ("cat",), dict.fromkeys(("train", "validation", "test"), (record,)), "flat")
    split = build_cache(data, tmp_path, image_size=(50, 50)).split("train")
    augment = train_augmentation(flip=1, scale_range=scale, min_visible=1.0)
    loader = Loader(split, batch_size=1, augmentation=augment, shuffle=False, seed=0)
    (batch,) = loader.epoch(0)
    assert batch.targets.labels[0, 0] == 1


def test_slivers_become_ignored_regions():
    augment = train_augmentation(flip=0, min_box=5)
    boxes = torch.tensor([[0.0, 0, 4, 30], [0, 0, 6, 30], [0, 0, 0.5, 30]])
    _, kept, labels = augment(black(), boxes, torch.tensor([1, 2, 3]), rng())
    assert kept.tolist() == [[0, 0, 4, 30], [0, 0, 6, 30]]
    assert labels.tolist() == [IGNORED, 2]


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_a_remnant_is_ignored_exactly_where_too_little_of_its_object_is_visible(seed, share):
    """The same draws with and without the rule: what differs is what the crop has cut down too far."""
    draws = rng(seed)
    corners = draws.uniform(0, [60, 40], (12, 2))
    boxes = torch.from_numpy(np.hstack([corners, corners + draws.uniform(8, [36, 24], (12, 2))])).float()
    labels = torch.arange(12) + 1

    def augmented(least, labels=labels):
        augment = train_augmentation(flip=0, scale_range=(2, 2), min_visible=least)
        return augment(black(), boxes, labels, rng(seed))[1:]

    every, every_label = augmented(0)
    kept, kept_labels = augmented(share)
    whole = 4 * (boxes[:, 2:] - boxes[:, :2]).prod(1)[every_label - 1]
    visible = (every[:, 2:] - every[:, :2]).prod(1) / whole
    expected = visible >= share - 1e-6
    assert torch.equal(kept_labels, torch.where(expected, every_label, IGNORED))
    assert torch.equal(kept, every)
    ignored, ignored_labels = augmented(share, torch.full((12,), IGNORED))
    assert torch.equal(ignored, every)  # any piece of an ignored region is still to be ignored
    assert (ignored_labels == IGNORED).all()


def test_ignored_regions_outlive_the_least_box_but_not_the_image():
    augment = train_augmentation(flip=0, min_box=10)
    boxes = torch.tensor([[0.0, 0, 4, 30], [0, 0, 4, 30], [0, 0, 0.5, 30]])
    _, kept, labels = augment(black(), boxes, torch.tensor([1, IGNORED, IGNORED]), rng())
    assert kept.tolist() == [[0, 0, 4, 30]] * 2
    assert labels.tolist() == [IGNORED] * 2


def test_images_without_boxes_pass():
    augment = train_augmentation(**FULL)
    _, boxes, labels = augment(black(), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), rng())
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def test_same_generator_gives_the_same_image_whatever_the_global_state():
    augment = train_augmentation(**FULL)
    image = torch.from_numpy(rng().integers(0, 256, (3, 64, 96), dtype=np.uint8))
    boxes, labels = torch.tensor([[3.0, 4, 30, 40], [10, 10, 90, 60]]), torch.tensor([1, 2])
    results = []
    for state in (1, 2):
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002
        results.append(augment(image, boxes, labels, rng(5)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert not torch.equal(augment(image, boxes, labels, rng(6))[0], results[0][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5"),
        ({"min_box": 0}, "min_box is 0"),
        ({"min_visible": 1.5}, "min_visible is 1.5: it must be a share in 0…1"),
        ({"min_visible": float("nan")}, "min_visible is nan"),
        ({"scale_range": (2, 1)}, r"scale_range is \(2, 1\)"),
        ({"scale_range": (0, 1)}, r"scale_range is \(0, 1\)"),
    ],
)
def test_augmentation_settings_out_of_range_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        train_augmentation(**options)


def test_a_large_objects_remnant_is_neither_target_nor_background():
    """Half of the anchors on what a crop leaves of it would be told that there is nothing."""
    augment = train_augmentation(flip=0, scale_range=(4, 4), min_visible=0.5)
    for seed in range(20):
        _, boxes, labels = augment(black(), torch.tensor([[8.0, 8, 88, 56]]), torch.tensor([3]), rng(seed))
        assert labels.tolist() == [IGNORED]
        targets = pad_targets([{"boxes": boxes, "labels": labels}], [(64, 96)])
        x1, y1, x2, y2 = boxes[0].tolist()
        inside = torch.tensor([[x1, y1, (x1 + x2) / 2, (y1 + y2) / 2]])
        assert assign(inside, targets, Rule(0.5, 0.4)).rows.tolist() == [[NEITHER]]
