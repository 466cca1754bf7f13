import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core.errors import DataError
from spnas_detect.data import Loader, build_cache, finish, open_data, train_augmentation
from spnas_detect.data.finishing import MEAN, STD
from spnas_detect.data.targets import IGNORED


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = open_data("shapes", seed=0, image_size=64, train=23, validation=5, test=5, max_size=24)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64))


@pytest.fixture(scope="module")
def split(cache):
    return cache.split("train")


def collect(loader, epoch):
    images, targets = [], []
    for batch in loader.epoch(epoch):
        images.append(batch.inputs())
        targets += [batch.targets.image(i) for i in range(len(batch.indices))]
    return torch.cat(images), targets


def equal(one, other):
    return torch.equal(one[0], other[0]) and all(
        torch.equal(a["boxes"], b["boxes"]) and torch.equal(a["labels"], b["labels"])
        for a, b in zip(one[1], other[1], strict=True)
    )


def changing():
    """Options of a loader that changes everything that it may."""
    return {"augmentation": train_augmentation(scale_range=(0.5, 1.5)), "photometric": True}


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
        return Loader(split, batch_size=4, **changing(), shuffle=True, seed=seed)

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


def test_each_image_is_augmented_by_draws_of_its_own(split):
    plain, flipped = (
        collect(Loader(split, batch_size=23, augmentation=augmentation, shuffle=False, seed=0), 0)[0]
        for augmentation in (None, train_augmentation())
    )
    changed = [not torch.equal(a, b) for a, b in zip(plain, flipped, strict=True)]
    assert 5 <= sum(changed) <= 18


def test_colours_are_drawn_for_each_image_and_each_epoch_anew(split):
    loader = Loader(split, batch_size=23, photometric=True, shuffle=False, seed=0)
    drawn = [next(loader.epoch(epoch)).photometry.factors for epoch in range(2)]
    for factors in drawn:
        assert len({tuple(row) for row in factors.tolist()}) > 15
    assert sum(not torch.equal(one, other) for one, other in zip(*drawn, strict=True)) > 15


def test_augmentation_does_not_depend_on_the_batch_size(split):
    one, other = (collect(Loader(split, batch_size=size, **changing(), shuffle=True, seed=1), 1) for size in (3, 16))
    assert equal(one, other)


def test_callers_random_state_and_threads_are_left_alone(split):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    loader = Loader(split, batch_size=4, **changing(), shuffle=True, seed=0)
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
    assert [len(batch.images) for batch in loader.epoch(0)] == sizes
    assert len(loader) == len(sizes)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({}, [5, 5, 5, 5]),
        ({"share": 0.1}, [2]),
        ({"half": 0}, [5, 5]),
        ({"share": 0.3, "half": 1}, [3]),
        ({"batch_size": 99}, [23]),
    ],
)
def test_a_smaller_batch_is_left_out_where_there_is_a_whole_one(split, options, sizes):
    loader = Loader(split, shuffle=False, seed=0, drop_last=None, **{"batch_size": 5, **options})
    assert [len(batch.images) for batch in loader.epoch(0)] == sizes


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
        next(Loader(split, batch_size=4, shuffle=False, seed=0, channels_last=flag).epoch(0)).inputs()
        for flag in (False, True)
    )
    assert torch.equal(plain, last)
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_what_is_finished_agrees_with_torchvision():
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    peer = functional.normalize(functional.to_dtype(images, torch.float32, scale=True), list(MEAN), list(STD))
    assert torch.allclose(finish(images), peer, atol=1e-5)


def test_cache_is_not_changed_by_augmentation(split):
    before = split.images(range(23)), [split.boxes(i) for i in range(23)]
    loader = Loader(split, batch_size=8, **changing(), shuffle=True, seed=0)
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
        ({"rank": 2, "world_size": 2}, r"rank is 2 of 2 process\(es\): it must be in 0…1"),
        ({"rank": -1}, "rank is -1"),
        ({"world_size": 0}, "rank is 0 of 0"),
        ({"prefetch": -1}, "prefetch is -1"),
        ({"image_sizes": []}, r"image_sizes is \[\]"),
        ({"image_sizes": [(64, 64), (0, 64)]}, r"image_sizes is \[\(64, 64\), \(0, 64\)\]"),
        (
            {"batch_size": 5, "world_size": 2},
            "batch_size 5 cannot be cut into 2 equal parts, .* make it a multiple of 2",
        ),
        ({"batch_size": 4, "world_size": 2}, "the last batch holds 3 of 23 images, which cannot be cut into 2 equal"),
        ({"batch_size": 24, "world_size": 2}, "the last batch holds 23 of 23 images"),
    ],
)
def test_loader_settings_out_of_range_are_refused(split, options, message):
    with pytest.raises(DataError, match=message):
        Loader(split, **{"batch_size": 4, "shuffle": True, "seed": 0, **options})


def whole(batches):
    """Put the parts of one step together."""
    return (
        torch.cat([batch.inputs() for batch in batches]),
        *(torch.cat(parts) for parts in zip(*(batch.targets for batch in batches), strict=True)),
        torch.tensor([index for batch in batches for index in batch.indices]),
    )


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(whole([one]), whole([other]), strict=True))


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 3), st.booleans(), st.integers(0, 2))
def test_parts_of_all_processes_are_the_batches_of_one(split, world_size, part, epoch, drop_last, prefetch):
    options = {
        "batch_size": world_size * part,
        **changing(),
        "shuffle": True,
        "seed": 3,
        "image_sizes": [(64, 64), (48, 40)],
        "drop_last": drop_last or 23 % (world_size * part) % world_size > 0,
    }
    alone = list(Loader(split, **options).epoch(epoch))
    loaders = [Loader(split, **options, rank=r, world_size=world_size, prefetch=prefetch) for r in range(world_size)]
    parts = list(zip(*(loader.epoch(epoch) for loader in loaders), strict=True))
    assert len(parts) == len(alone)
    for one, step in zip(alone, parts, strict=True):
        assert len({len(batch.indices) for batch in step}) == 1
        assert all(torch.equal(a, b) for a, b in zip(whole([one]), whole(step), strict=True))


def test_an_epoch_resumes_at_any_batch_without_reading_the_earlier_ones(split, monkeypatch):
    loader = Loader(
        split,
        batch_size=5,
        **changing(),
        shuffle=True,
        seed=1,
        image_sizes=[(64, 64), (32, 48), (96, 96)],
    )
    full = list(loader.epoch(3))
    read = []
    images = split.images
    monkeypatch.setattr(split, "images", lambda indices: read.append(list(indices)) or images(indices))
    for first in range(len(loader) + 1):
        read.clear()
        rest = list(loader.epoch(3, first_batch=first))
        assert len(rest) == len(read) == len(full) - first
        assert all(same(a, b) for a, b in zip(rest, full[first:], strict=True))
    for wrong in (-1, 6):
        with pytest.raises(DataError, match=rf"first_batch is {wrong}: it must be in 0…5"):
            next(loader.epoch(0, first_batch=wrong))


def test_prefetched_batches_are_the_same_in_the_same_order(split):
    options = {
        "batch_size": 3,
        **changing(),
        "photometric": True,
        "shuffle": True,
        "seed": 7,
    }
    plain = list(Loader(split, **options).epoch(1))
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    for prefetch in (1, 3, 20):
        ahead = list(Loader(split, **options, prefetch=prefetch).epoch(1))
        assert all(same(a, b) for a, b in zip(plain, ahead, strict=True))
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_mistake_in_a_background_thread_reaches_the_caller_and_ends_the_threads(split):
    def broken(image, boxes, labels, rng):
        raise ArithmeticError("broken augmentation")

    with pytest.raises(ArithmeticError, match="broken augmentation"):
        list(Loader(split, batch_size=3, augmentation=broken, shuffle=True, seed=0, prefetch=2).epoch(0))
    batches = Loader(split, batch_size=3, shuffle=True, seed=0, prefetch=2).epoch(0)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("spnas-loader")]


def test_every_canvas_occurs_and_boxes_follow_it(split):
    sizes = [(64, 64), (32, 32), (80, 40), (96, 128)]
    loader = Loader(split, batch_size=2, shuffle=False, seed=0, image_sizes=sizes)
    plain = list(Loader(split, batch_size=2, shuffle=False, seed=0).epoch(0))
    rows = plain[0].targets.labels.shape[1]
    seen = set()
    for epoch in range(3):
        for number, batch in enumerate(loader.epoch(epoch)):
            width, height = loader.canvas(epoch, number)
            seen.add((width, height))
            assert batch.images.shape == (len(batch.indices), 3, height, width)
            assert batch.targets.labels.shape == (len(batch.indices), rows)
            side = min(width, height)  # the cached images are square
            assert batch.targets.sizes.tolist() == [[side, side]] * len(batch.indices)
            assert torch.allclose(batch.targets.boxes, plain[number].targets.boxes * (side / 64), atol=1e-4)
    assert seen == set(sizes)


def test_canvas_does_not_depend_on_the_batch_size_and_comes_back(split):
    sizes = [(64, 64), (32, 32), (48, 48)]
    one, other = (Loader(split, batch_size=b, shuffle=True, seed=4, image_sizes=sizes) for b in (2, 5))
    drawn = [[loader.canvas(epoch, k) for epoch in range(3) for k in range(5)] for loader in (one, other, one)]
    assert drawn[0] == drawn[1] == drawn[2]
    assert [one.canvas(0, k) for k in range(12)] != [one.canvas(1, k) for k in range(12)]


def test_ignored_regions_travel_through_augmentation_as_ignored(split, monkeypatch):
    monkeypatch.setattr(split, "ignore", lambda i: torch.arange(len(split.labels(i))) % 2 == 0)
    augmentation = train_augmentation(scale_range=(0.5, 0.9))  # nothing is cut off
    loader = Loader(split, batch_size=23, augmentation=augmentation, shuffle=False, seed=0)
    (batch,) = loader.epoch(0)
    for i in range(23):
        labels = split.labels(i)
        labels[::2] = IGNORED
        kept = batch.targets.labels[i, : len(labels)]
        assert torch.equal(kept, labels)
        assert (batch.targets.labels[i, len(labels) :] == 0).all()


def test_augmentation_stays_inside_the_part_that_the_image_occupies(tmp_path):
    data = open_data("shapes", seed=0, image_size=64, train=4, validation=1, test=1, max_size=24)
    wide = build_cache(data, tmp_path, image_size=(128, 64)).split("train")  # the right half is padding
    loader = Loader(wide, batch_size=4, **changing(), shuffle=False, seed=0)
    for epoch in range(4):
        (batch,) = loader.epoch(epoch)
        assert not batch.images[..., 64:].any()
        assert not batch.inputs()[..., 64:].any()  # zeros behind normalisation
        assert batch.targets.sizes.tolist() == [[64, 64]] * 4
        assert batch.targets.boxes.max() <= 64
