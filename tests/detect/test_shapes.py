from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas_core.errors import DataError
from spnas_detect.data import ShapesOptions, open_data
from spnas_detect.data.shapes import CLASSES, _lay_out, _paint


def row_filled(mask):
    """Fill each row from its first to its last pixel: a convex outline with its hole closed."""
    return np.logical_or.accumulate(mask, 1) & np.logical_or.accumulate(mask[:, ::-1], 1)[:, ::-1]


def same(one, other):
    return (
        np.array_equal(one.read(), other.read())
        and np.array_equal(one.boxes, other.boxes)
        and np.array_equal(one.labels, other.labels)
    )


def test_same_seed_gives_same_images():
    one, other = open_data("shapes", seed=3, train=6), open_data("shapes", seed=3, train=6)
    assert one.fingerprint == other.fingerprint
    assert all(same(a, b) for a, b in zip(one.splits["train"], other.splits["train"], strict=True))
    record = one.splits["train"][0]
    assert np.array_equal(record.read(), record.read())


def test_seeds_splits_and_positions_give_different_images():
    data = open_data("shapes", seed=3, train=2)
    images = [data.splits["train"][0], data.splits["train"][1], data.splits["validation"][0]]
    images += [data.splits["test"][0], open_data("shapes", seed=4).splits["train"][0]]
    for i, one in enumerate(images):
        assert not any(same(one, other) for other in images[:i])


def test_images_do_not_depend_on_the_number_of_images():
    few, many = open_data("shapes", seed=0, train=3), open_data("shapes", seed=0, train=50, test=7)
    assert len(many.splits["train"]) == 50
    assert all(same(a, b) for a, b in zip(few.splits["train"], many.splits["train"][:3], strict=True))
    assert few.fingerprint != many.fingerprint


def test_boxes_are_tight_around_the_drawn_pixels():
    options = ShapesOptions(objects=(1, 1))
    data = open_data("shapes", seed=1, objects=[1, 1])
    for i in range(60):
        record = data.splits["train"][i]
        scene = _lay_out(options, np.random.default_rng([1, 0, i]))
        bare = replace(scene.drawn[0], mask=np.zeros_like(scene.drawn[0].mask))
        ground = _paint(options, replace(scene, drawn=(bare,)))
        ys, xs = np.nonzero((record.read() != ground).any(2))
        assert record.boxes.tolist() == [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]]


def test_classes_are_balanced():
    data = open_data("shapes", seed=0)
    labels = np.concatenate([record.labels for record in data.splits["train"]])
    shares = np.bincount(labels, minlength=5)[1:] / len(labels)
    assert len(shares) == len(CLASSES) == 4
    assert np.all(np.abs(shares - 0.25) < 0.03)


def test_a_choice_of_classes_and_all_of_them_as_one():
    some = open_data("shapes", seed=0, train=20, classes=["ring", "square"])
    assert some.classes == ("ring", "square")
    assert {label for record in some.splits["train"] for label in record.labels} == {1, 2}
    merged, apart = (open_data("shapes", seed=0, train=20, merged=merged) for merged in (True, False))
    assert merged.classes == ("object",)
    for one, other in zip(merged.splits["train"], apart.splits["train"], strict=True):
        assert set(one.labels) == {1}
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.read(), other.read())
    for wrong in ([], ["disc", "disc"], ["cross"], "disc"):
        with pytest.raises(DataError, match=r"shapes classes is .* one or more of square, disc, triangle, ring"):
            open_data("shapes", seed=0, classes=wrong)
    with pytest.raises(DataError, match="shapes merged is 1"):
        open_data("shapes", seed=0, merged=1)


def test_colour_does_not_give_the_class_away():
    options = ShapesOptions()
    colours, labels = [], []
    for i in range(150):
        scene = _lay_out(options, np.random.default_rng([0, 0, i]))
        image = _paint(options, scene)
        for item in scene.drawn:
            height, width = item.mask.shape
            colours.append(image[item.y : item.y + height, item.x : item.x + width][item.mask].mean(0))
            labels.append(CLASSES.index(item.outline) + 1)
    colours, labels = np.stack(colours), np.asarray(labels)
    half = len(labels) // 2
    centres = np.stack([colours[:half][labels[:half] == label].mean(0) for label in range(1, 5)])
    guesses = 1 + ((colours[half:, None] - centres) ** 2).sum(2).argmin(1)
    assert (guesses == labels[half:]).mean() < 0.36


def test_objects_stand_out_from_their_ground():
    options = ShapesOptions(objects=(1, 1))
    contrasts = []
    for i in range(60):
        scene = _lay_out(options, np.random.default_rng([2, 0, i]))
        (item,) = scene.drawn
        bare = replace(scene, drawn=(replace(item, mask=np.zeros_like(item.mask)),))
        image, ground = _paint(options, scene).astype(float), _paint(options, bare).astype(float)
        where = np.s_[item.y : item.y + item.mask.shape[0], item.x : item.x + item.mask.shape[1]]
        difference = image[where][item.mask].mean(0) - ground[where][item.mask].mean(0)
        contrasts.append(np.linalg.norm(difference))
    assert min(contrasts) > 30
    assert np.std(contrasts) > 15


@pytest.mark.parametrize("occlusion", [0.0, 0.25])
def test_no_object_is_covered_beyond_the_limit(occlusion):
    options = ShapesOptions(image_size=80, objects=(8, 8), occlusion=occlusion, crowding=0.9)
    worst = 0.0
    for i in range(60):
        scene = _lay_out(options, np.random.default_rng([5, 0, i]))
        layers = np.zeros((len(scene.drawn), 80, 80), bool)
        for layer, item in zip(layers, scene.drawn, strict=True):
            height, width = item.mask.shape
            layer[item.y : item.y + height, item.x : item.x + width] = row_filled(item.mask)
        for k in range(len(layers) - 1):
            covered = (layers[k] & layers[k + 1 :].any(0)).sum() / layers[k].sum()
            worst = max(worst, covered)
    assert worst <= occlusion
    assert occlusion == 0 or worst > 0.1


def test_small_share_skews_the_sizes():
    def share_of_small(small_share):
        sizes = {"image_size": 160, "min_size": 8, "max_size": 48, "objects": (2, 8)}
        split = open_data("shapes", seed=0, small_share=small_share, train=150, **sizes).splits["train"]
        sides = np.concatenate([(r.boxes[:, 2:] - r.boxes[:, :2]).mean(1) for r in split])
        return (sides <= 8 * 6 ** (1 / 3)).mean()

    assert 0.2 < share_of_small(0.0) < 0.5
    assert share_of_small(1.0) > 0.9


def test_crowding_brings_objects_together():
    def nearest(crowding):
        split = open_data("shapes", seed=0, crowding=crowding, objects=(4, 4), train=100).splits["train"]
        distances = []
        for record in split:
            centres = (record.boxes[:, :2] + record.boxes[:, 2:]) / 2
            apart = np.linalg.norm(centres[:, None] - centres, axis=2) + 1e9 * np.eye(len(centres))
            distances.append(apart.min(1).mean())
        return np.mean(distances)

    assert nearest(1.0) < 0.75 * nearest(0.0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**70),
    extent=st.integers(32, 120),
    sizes=st.tuples(st.integers(4, 32), st.integers(4, 32)).map(sorted),
    objects=st.tuples(st.integers(0, 12), st.integers(1, 12)).map(sorted),
    shares=st.tuples(*[st.floats(0, 1)] * 3),
)
def test_boxes_lie_inside_and_keep_the_size_bounds(seed, extent, sizes, objects, shares):
    data = open_data(
        "shapes",
        seed=seed,
        image_size=extent,
        min_size=sizes[0],
        max_size=sizes[1],
        objects=tuple(objects),
        small_share=shares[0],
        occlusion=shares[1],
        crowding=shares[2],
    )
    record = data.splits["test"][0]
    assert record.read().shape == (extent, extent, 3)
    assert record.read().dtype == np.uint8
    assert len(record.boxes) == len(record.labels) == len(record.ignore) <= objects[1]
    assert not objects[0] or len(record.boxes)
    assert record.boxes.dtype == np.float32
    assert (record.boxes >= 0).all()
    assert (record.boxes <= extent).all()
    sides = record.boxes[:, 2:] - record.boxes[:, :2]
    assert ((sides >= sizes[0]) & (sides <= sizes[1])).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 8}, r"image_size is 8: it must be an integer in 32…2048"),
        ({"train": 0}, r"train is 0: .* 1…"),
        ({"min_size": 60, "max_size": 48}, r"min_size is 60: .* 4…48"),
        ({"image_size": 160, "max_size": 161}, r"max_size is 161: .* 4…160"),
        ({"max_size": 20.5}, r"max_size is 20.5"),
        ({"small_share": 1.5}, r"small_share is 1.5: .* 0…1"),
        ({"occlusion": -0.1}, r"occlusion is -0.1: .* 0…1"),
        ({"crowding": float("nan")}, r"crowding is nan: .* 0…1"),
        ({"crowding": True}, r"crowding is True"),
        ({"objects": (5, 2)}, r"objects \(least\) is 5: .* 0…2"),
        ({"objects": (0, 0)}, r"objects \(greatest\) is 0: .* 1…100"),
        ({"objects": 3}, r"objects is 3: it must be a pair"),
        ({"small": 1}, r"no option 'small'; did you mean"),
    ],
)
def test_options_out_of_range_name_key_value_and_range(options, message):
    with pytest.raises(DataError, match=message):
        open_data("shapes", seed=0, **options)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("shape", r"unknown kind of data 'shape'.*did you mean 'shapes'"),
        ("shapes:x", r"takes no path, got 'x'"),
        ("shapes:", r"no path after the colon"),
        ("voc", r"write voc:PATH"),
    ],
)
def test_specs_that_mean_nothing_are_refused(spec, message):
    with pytest.raises(DataError, match=message):
        open_data(spec, seed=0)


def test_negative_seed_is_refused():
    with pytest.raises(DataError, match=r"seed .* is -1"):
        open_data("shapes", seed=-1)


def test_readers_can_be_given():
    data = open_data("shapes", seed=0)

    def reader(path, *, seed, options):
        assert (path, seed, options) == ("a:b", 7, {"x": 1})
        return data

    assert open_data("mine:a:b", seed=7, readers={"mine": reader}, x=1) is data


def test_records_index_like_a_sequence():
    split = open_data("shapes", seed=0, train=4).splits["train"]
    assert same(split[-1], split[3])
    assert [record.name for record in split[1:3]] == ["train-00001", "train-00002"]
    with pytest.raises(IndexError):
        split[4]
