"""Whole canvases: large-scale jitter and mosaics keep boxes around their pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core.configuration import validate
from spnas_core.errors import ConfigError, DataError
from spnas_detect.data import Loader, build_cache, open_data, train_augmentation
from spnas_detect.data.scenes import GREY, Scenes
from spnas_detect.data.targets import IGNORED
from spnas_detect.data.transforms import Rules
from spnas_detect.training import TrainingSettings

FLIP = train_augmentation()


def part(colour, draws):
    """A dark image with one object of a colour of its own, anywhere."""
    height, width = draws.integers(20, 65, 2)
    x1, y1 = draws.integers(0, [width - 8, height - 8])
    x2, y2 = draws.integers([x1 + 6, y1 + 6], [width + 1, height + 1])
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    image[colour % 3, y1:y2, x1:x2] = 255
    image[(colour + 1) % 3, y1:y2, x1:x2] = 255 * (colour // 3)
    return image, torch.tensor([[x1, y1, x2, y2]]).float(), torch.tensor([colour + 1])


def is_of(canvas, colour):
    """bool[H, W]: pixels that are mostly of an object's colour."""
    wanted = torch.zeros(3, dtype=torch.bool)
    wanted[colour % 3] = True
    wanted[(colour + 1) % 3] |= bool(colour // 3)
    return ((canvas > 150) == wanted[:, None, None]).all(0)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([(0.1, 2.0), (0.1, 0.3), (1.5, 2.0)]))
def test_every_pixel_of_an_object_lies_where_its_box_says(seed, is_mosaic, scale_range):
    draws = np.random.default_rng(seed)
    scenes = Scenes(scale_range, float(is_mosaic), None, FLIP, Rules(min_visible=0.0))
    count = scenes.images(0, draws)
    assert count == (4 if is_mosaic else 1)
    canvas = torch.empty(3, 48, 72, dtype=torch.uint8)
    parts = [part(colour, draws) for colour in range(count)]
    boxes, labels = scenes.compose(canvas, count, (FLIP(*one, draws) for one in parts), draws)
    for colour in range(count):
        ys, xs = is_of(canvas, colour).nonzero(as_tuple=True)
        own = boxes[labels == colour + 1]
        if len(own) == 0:
            assert len(ys) <= 72  # less than a pixel in one direction
            continue
        x1, y1, x2, y2 = own[0].tolist()
        assert 0 <= x1 < x2 <= 72
        assert 0 <= y1 < y2 <= 48
        if min(x2 - x1, y2 - y1) > 3:  # smaller ones are blurred into what surrounds them
            assert abs(xs.min().item() - x1) <= 1.5
            assert abs(xs.max().item() + 1 - x2) <= 1.5
            assert abs(ys.min().item() - y1) <= 1.5
            assert abs(ys.max().item() + 1 - y2) <= 1.5


def test_empty_places_are_grey_and_a_small_image_lies_anywhere():
    scenes = Scenes((0.1, 0.1))
    canvas = torch.empty(3, 60, 60, dtype=torch.uint8)
    places = set()
    for seed in range(20):
        white = torch.full((3, 60, 60), 255, dtype=torch.uint8)
        boxes = torch.tensor([[0.0, 0, 60, 60]])
        found, _ = scenes.compose(canvas, 1, [(white, boxes, torch.tensor([1]))], np.random.default_rng(seed))
        x1, y1, x2, y2 = (int(value) for value in found[0])
        assert (x2 - x1, y2 - y1) == (6, 6)
        assert (canvas[:, y1:y2, x1:x2] == 255).all()
        canvas[:, y1:y2, x1:x2] = torch.tensor(GREY, dtype=torch.uint8)[:, None, None]
        assert (canvas == torch.tensor(GREY, dtype=torch.uint8)[:, None, None]).all()
        places.add((x1, y1))
    assert len(places) > 15


def test_an_image_at_its_own_scale_is_itself():
    image, boxes = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8), torch.tensor([[3.0, 4, 30, 20]])
    canvas = torch.empty(3, 40, 50, dtype=torch.uint8)
    found, labels = Scenes((1.0, 1.0)).compose(canvas, 1, [(image, boxes, torch.tensor([2]))], np.random.default_rng(0))
    assert torch.equal(canvas, image)
    assert (found.tolist(), labels.tolist()) == (boxes.tolist(), [2])


def test_remnants_in_a_mosaic_are_ignored():
    scenes = Scenes(None, 1.0, None, None, Rules(min_visible=1.0))
    seen = set()
    for seed in range(10):
        draws = np.random.default_rng(seed)
        parts = [part(colour, draws) for colour in range(4)]
        boxes, labels = scenes.compose(torch.empty(3, 40, 40, dtype=torch.uint8), 4, parts, draws)
        assert len(boxes) == len(labels)
        seen |= set(labels.tolist())
    assert IGNORED in seen
    assert seen & {1, 2, 3, 4}


# In batches


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data = open_data("shapes", seed=0, image_size=64, train=13, validation=4, test=4, max_size=24)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(80, 64)).split("train")


def loaded(split, batch_size=4, epoch=0, *, scenes, **options):
    loader = Loader(
        split, batch_size=batch_size, augmentation=FLIP, scenes=scenes, shuffle=True, seed=1, **options
    )  # fmt: skip
    return list(loader.epoch(epoch))


def joined(batches):
    return (
        torch.cat([batch.images.flatten() for batch in batches]),
        *(torch.cat(parts) for parts in zip(*(batch.targets for batch in batches), strict=True)),
    )


def are_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(joined(one), joined(other), strict=True))


BOTH = Scenes((0.1, 2.0), 0.5, 3, FLIP)


@pytest.mark.parametrize("scenes", [BOTH, Scenes(None, 0.5, None, FLIP), Scenes((0.5, 1.5))])
def test_scenes_follow_from_seed_epoch_and_image_alone(split, scenes):
    options = {"scenes": scenes, "image_sizes": [(64, 48), (80, 64)] if scenes is not BOTH else None}
    whole = loaded(split, **options)
    torch.manual_seed(5)
    assert are_equal(loaded(split, **options, prefetch=3), whole)
    if scenes is BOTH:
        assert are_equal(loaded(split, 13, **options), whole)
    assert not are_equal(loaded(split, epoch=1, **options), whole)
    parts = [loaded(split, drop_last=True, **options, rank=rank, world_size=2) for rank in range(2)]
    mixed = [batch for both in zip(*parts, strict=True) for batch in both]
    assert are_equal(mixed, whole[:3])


def test_a_filled_canvas_is_image_all_over_and_a_plain_one_is_not(split):
    filled = joined(loaded(split, scenes=BOTH))
    assert (filled[3] == torch.tensor([64.0, 80.0])).all()
    mixed = joined(loaded(split, scenes=Scenes(None, 0.5, None, FLIP)))[3]
    assert {tuple(size) for size in mixed.tolist()} == {(64.0, 80.0), (64.0, 64.0)}


def test_the_last_epochs_have_no_mosaics(split):
    scenes = Scenes(None, 1.0, 3, FLIP)
    assert all((joined(loaded(split, epoch=epoch, scenes=scenes))[3][:, 1] == 80).all() for epoch in range(3))
    late, plain = (joined(loaded(split, epoch=3, scenes=one)) for one in (scenes, None))
    assert all(torch.equal(a, b) for a, b in zip((late[0], late[3]), (plain[0], plain[3]), strict=True))


def test_a_mosaic_shows_boxes_of_several_images(split):
    rows = [int((batch.targets.labels != 0).sum()) for batch in loaded(split, 13, scenes=Scenes(None, 1.0, None, FLIP))]
    assert rows[0] > sum(len(split.labels(i)) for i in range(13))


def test_no_second_batch_of_images_is_read(split, monkeypatch):
    read = []
    images = split.images
    monkeypatch.setattr(split, "images", lambda indices: read.append(len(indices)) or images(indices))
    loaded(split, scenes=BOTH)
    assert set(read) == {1}


def test_settings_out_of_range_are_refused():
    with pytest.raises(DataError, match=r"augmentation mosaic is 1.5: it must be a probability in 0…1"):
        Scenes(mosaic=1.5)
    with pytest.raises(DataError, match="scale_range"):
        Scenes((2.0, 1.0))
    with pytest.raises(ConfigError, match=r"scale_onto is 'canvas': needs a scale_range, such as"):
        validate(TrainingSettings, {"scale_onto": "canvas"})
    validate(TrainingSettings, {"scale_onto": "canvas", "scale_range": [0.1, 2.0]})
