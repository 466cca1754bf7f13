import numpy as np
import pytest
import torch

from spnas_core.errors import DataError
from spnas_detect.data import Loader, build_cache, normalize, open_data, train_augmentation
from spnas_detect.data.loader import MEAN, STD


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = open_data("shapes", seed=0, image_size=64, train=23, validation=5, test=5, max_size=24)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64))


@pytest.fixture(scope="module")
def split(cache):
    return cache.split("train")


def collect(loader, epoch):
    images, targets = [], []
    for batch, batch_targets in loader.epoch(epoch):
        images.append(batch)
        targets += batch_targets
    return torch.cat(images), targets


def equal(one, other):
    return torch.equal(one[0], other[0]) and all(
        torch.equal(a["boxes"], b["boxes"]) and torch.equal(a["labels"], b["labels"])
        for a, b in zip(one[1], other[1], strict=True)
    )


FULL = {"photometric": True, "scale_range": (0.5, 1.5)}


def test_plain_batches_are_the_cached_images_in_order(split):
    images, targets = collect(Loader(split, batch_size=4, shuffle=False, seed=0), 0)
    pixels = images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert torch.allclose(pixels * 255, split.images(range(23)).float(), atol=1e-3)
    for i, target in enumerate(targets):
        assert torch.equal(target["boxes"], split.canvas_boxes(i))
        assert torch.equal(target["labels"], split.labels(i))
        assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)


def test_every_image_occurs_once_per_epoch_in_another_order(split):
    loader = Loader(split, batch_size=4, shuffle=True, seed=0)
    orders = [loader.order(epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_epoch_is_reproducible_from_seed_and_epoch_alone(split):
    def make(seed=5):
        return Loader(split, batch_size=4, augmentation=train_augmentation(**FULL), shuffle=True, seed=seed)

    loader = make()
    first = collect(loader, 2)
    collect(loader, 0)
    torch.manual_seed(99)
    assert equal(collect(loader, 2), first)
    assert equal(collect(make(), 2), first)
    assert not equal(collect(make(), 3), first)
    assert not equal(collect(make(seed=6), 2), first)


def test_each_epoch_augments_anew(split):
    loader = Loader(split, batch_size=8, augmentation=train_augmentation(), shuffle=False, seed=0)
    assert not equal(collect(loader, 0), collect(loader, 1))


def test_augmentation_does_not_depend_on_the_batch_size(split):
    augmentation = train_augmentation(**FULL)
    one, other = (
        collect(Loader(split, batch_size=size, augmentation=augmentation, shuffle=True, seed=1), 1) for size in (3, 16)
    )
    assert equal(one, other)


def test_callers_random_state_and_threads_are_left_alone(split):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    loader = Loader(split, batch_size=4, augmentation=train_augmentation(**FULL), shuffle=True, seed=0)
    try:
        for _ in loader.epoch(0):
            assert torch.equal(torch.get_rng_state(), states[0])
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_share_is_a_fixed_seeded_subset(split):
    loader = Loader(split, batch_size=4, shuffle=True, seed=0, share=0.5)
    assert len(loader.indices) == 12
    assert len(loader) == 3
    for epoch in range(3):
        assert sorted(loader.order(epoch)) == list(loader.indices)
    assert Loader(split, batch_size=2, shuffle=False, seed=0, share=0.5).indices == loader.indices
    assert Loader(split, batch_size=4, shuffle=True, seed=1, share=0.5).indices != loader.indices
    assert len(Loader(split, batch_size=4, shuffle=True, seed=0, share=1e-9).indices) == 1


def test_a_smaller_share_is_part_of_a_larger_one(split):
    shares = [set(Loader(split, batch_size=1, shuffle=True, seed=0, share=share).indices) for share in (0.2, 0.6, 1.0)]
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [10, 10, 3]), (True, [10, 10])])
def test_length_counts_the_batches(split, drop_last, sizes):
    loader = Loader(split, batch_size=10, shuffle=True, seed=0, drop_last=drop_last)
    assert [len(images) for images, _ in loader.epoch(0)] == sizes
    assert len(loader) == len(sizes)


def test_ignored_boxes_are_no_training_targets(split, monkeypatch):
    monkeypatch.setattr(split, "ignore", lambda i: torch.arange(len(split.labels(i))) == 0)
    for augmentation in (None, train_augmentation(flip=0)):
        loader = Loader(split, batch_size=23, augmentation=augmentation, shuffle=False, seed=0)
        _, targets = collect(loader, 0)
        for i, target in enumerate(targets):
            assert torch.equal(target["boxes"], split.canvas_boxes(i)[1:])
            assert torch.equal(target["labels"], split.labels(i)[1:])


def test_channels_last_is_a_layout_only(split):
    plain, last = (
        next(Loader(split, batch_size=4, shuffle=False, seed=0, channels_last=flag).epoch(0))[0]
        for flag in (False, True)
    )
    assert torch.equal(plain, last)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_normalize_agrees_with_torchvision():
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    peer = functional.normalize(functional.to_dtype(images, torch.float32, scale=True), list(MEAN), list(STD))
    assert torch.allclose(normalize(images), peer, atol=1e-5)


def test_cache_is_not_changed_by_augmentation(split):
    before = split.images(range(23)), [split.boxes(i) for i in range(23)]
    loader = Loader(split, batch_size=8, augmentation=train_augmentation(**FULL), shuffle=True, seed=0)
    collect(loader, 0)
    assert torch.equal(split.images(range(23)), before[0])
    assert all(torch.equal(split.boxes(i), before[1][i]) for i in range(23))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 1.1}, "share is 1.1"),
        ({"seed": -1}, "seed is -1"),
        ({"batch_size": 24, "drop_last": True}, "23 images make no batch of 24"),
    ],
)
def test_loader_settings_out_of_range_are_refused(split, options, message):
    with pytest.raises(DataError, match=message):
        Loader(split, **{"batch_size": 4, "shuffle": True, "seed": 0, **options})


def white_square(box):
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    x1, y1, x2, y2 = box
    image[:, y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize("options", [{"flip": 1.0}, {"scale_range": (0.4, 2.0)}, {"flip": 0.5, "scale_range": (1, 1)}])
def test_boxes_stay_around_their_pixels(options):
    augment = train_augmentation(**options)
    torch.manual_seed(0)
    box = (20, 10, 52, 33)
    seen = set()
    for _ in range(40):
        image, boxes, labels = augment(white_square(box), torch.tensor([box]).float(), torch.tensor([1]))
        assert image.shape == (3, 64, 96)
        assert image.dtype == torch.uint8
        ys, xs = torch.nonzero(image[0] > 127, as_tuple=True)
        if len(boxes) == 0:
            assert len(ys) <= 2 * 96
            continue
        tight = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert (boxes[0] - tight).abs().max() <= 1.5
        assert type(image) is type(boxes) is torch.Tensor
        assert labels.tolist() == [1]
        seen.add(tuple(tight.tolist()))
    assert len(seen) > 1 or options == {"flip": 1.0}
    assert (20, 10, 52, 33) not in seen or options != {"flip": 1.0}


def test_shrunk_images_lie_on_zeros():
    augment = train_augmentation(flip=0, scale_range=(0.5, 0.5))
    white = torch.full((3, 64, 96), 255, dtype=torch.uint8)
    image, boxes, _ = augment(white, torch.tensor([[0.0, 0, 96, 64]]), torch.tensor([1]))
    assert sorted(image.unique().tolist()) == [0, 255]
    assert (image == 255).sum() == 3 * 48 * 32
    assert (boxes[0, 2:] - boxes[0, :2]).tolist() == [48, 32]


def test_rows_of_labels_stay_with_their_boxes():
    augment = train_augmentation(flip=0, scale_range=(2.0, 2.0))
    boxes = torch.tensor([[x, y, x + 10.0, y + 10.0] for x in range(0, 86, 12) for y in range(0, 52, 12)])
    sizes = torch.arange(len(boxes)) % 2  # the flag tells the small ones
    boxes[:, 2:] -= 4 * sizes[:, None]
    rows = torch.stack([torch.arange(len(boxes)) + 1, sizes], 1)
    torch.manual_seed(0)
    _, kept, labels = augment(torch.zeros(3, 64, 96, dtype=torch.uint8), boxes, rows)
    assert 0 < len(kept) == len(labels) < len(boxes)
    assert torch.equal(labels[:, 1], (labels[:, 0] - 1) % 2)
    whole = ((kept[:, :2] > 0) & (kept[:, 2:] < torch.tensor([96, 64]))).all(1)
    sides = kept[whole, 2] - kept[whole, 0]
    assert torch.allclose(sides, 2.0 * (10 - 4 * labels[whole, 1]))


def test_slivers_are_removed():
    augment = train_augmentation(flip=0, min_box=5)
    boxes = torch.tensor([[0.0, 0, 4, 30], [0, 0, 6, 30]])
    _, kept, labels = augment(torch.zeros(3, 64, 96, dtype=torch.uint8), boxes, torch.tensor([1, 2]))
    assert kept.tolist() == [[0, 0, 6, 30]]
    assert labels.tolist() == [2]


def test_images_without_boxes_pass():
    augment = train_augmentation(**FULL)
    _, boxes, labels = augment(white_square((0, 0, 5, 5)), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert boxes.shape == (0, 4)
    assert labels.shape == (0,)


def test_photometric_distortion_leaves_boxes():
    augment = train_augmentation(flip=0, photometric=True)
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)
    boxes = torch.tensor([[3.0, 4, 30, 40]])
    changed = [augment(image, boxes, torch.tensor([1])) for _ in range(8)]
    assert any(not torch.equal(result[0], image) for result in changed)
    assert all(torch.equal(result[1], boxes) for result in changed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5"),
        ({"min_box": 0}, "min_box is 0"),
        ({"scale_range": (2, 1)}, r"scale_range is \(2, 1\)"),
        ({"scale_range": (0, 1)}, r"scale_range is \(0, 1\)"),
    ],
)
def test_augmentation_settings_out_of_range_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        train_augmentation(**options)
