"""Which images an epoch has: without empty ones, and balanced by the repeat factors of LVIS."""

import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from voc_folder import write_voc

from spnas_detect.data import Loader, build_cache, open_data, train_augmentation
from spnas_detect.data.choosing import balanced_draw, repeat_factors, turns, with_objects
from spnas_detect.preparation import data_notes, prepare_data, train_loader
from spnas_detect.settings import DetectionSettings


class Annotations:
    """Labels of images, without images; a negative one is of an ignored box."""

    def __init__(self, *images):
        self._images = [torch.tensor(labels, dtype=torch.int64) for labels in images]

    def __len__(self):
        return len(self._images)

    def labels(self, index):
        return self._images[index].abs()

    def ignore(self, index):
        return self._images[index] < 0

    def objects(self):
        return [int((labels > 0).sum()) for labels in self._images]


def test_images_whose_boxes_do_not_count_have_none():
    assert with_objects(Annotations([1], [], [-1, -2], [-1, 2])).tolist() == [0, 3]


def test_the_example_of_the_factors():
    split = Annotations([1], [1, 1], [1], [1, 2], [-2])
    assert repeat_factors(split, [0, 1, 2, 3], 1.0).tolist() == [1, 1, 1, 2]
    assert repeat_factors(split, [0, 1, 2, 3], 0.25).tolist() == [1, 1, 1, 1]
    assert repeat_factors(split, [4], 1.0).tolist() == [1]


def plain_factors(images, threshold):
    """As written in the paper, step by step."""
    shares = Counter(name for labels in images for name in {label for label in labels if label > 0})
    of_class = {name: max(1.0, (threshold * len(images) / count) ** 0.5) for name, count in shares.items()}
    return [max([1.0, *(of_class[label] for label in labels if label > 0)]) for labels in images]


@given(st.lists(st.lists(st.integers(-4, 4).filter(bool), max_size=5), min_size=1, max_size=30), st.floats(0.001, 1))
def test_factors_are_the_papers(images, threshold):
    found = repeat_factors(Annotations(*images), range(len(images)), threshold)
    assert found.tolist() == pytest.approx(plain_factors(images, threshold))


@given(st.lists(st.floats(1, 20), min_size=1, max_size=40), st.integers(0, 1000))
def test_an_image_comes_as_often_as_it_is_due_and_the_epoch_stays_as_long(factors, seed):
    indices = np.arange(len(factors)) + 7
    drawn = balanced_draw(indices, np.array(factors), np.random.default_rng(seed))
    assert len(drawn) == len(factors)
    counts = Counter(drawn.tolist())
    for index, factor in zip(indices.tolist(), factors, strict=True):
        due = factor * len(factors) / sum(factors)
        assert due - 1 - 1e-9 < counts[index] < due + 1 + 1e-9
    assert np.array_equal(drawn, balanced_draw(indices, np.array(factors), np.random.default_rng(seed)))


def test_over_many_epochs_each_image_comes_in_proportion_to_its_factor():
    factors = np.array([1.0, 1.0, 1.0, 1.5, 4.0, 1.0])
    counts = Counter()
    for seed in range(600):
        counts.update(balanced_draw(np.arange(6), factors, np.random.default_rng(seed)).tolist())
    wanted = 3600 * factors / factors.sum()
    assert [counts[i] for i in range(6)] == pytest.approx(wanted, rel=0.08)


def test_turns_count_how_often_an_image_came_before():
    assert turns([4, 2, 4, 4, 2]) == [0, 0, 1, 2, 1]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data = open_data("shapes", seed=0, image_size=64, train=20, validation=4, test=4, max_size=24)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64)).split("train")


def test_empty_images_are_left_out_before_the_share_is_drawn(split, monkeypatch):
    objects = split.objects()
    monkeypatch.setattr(split, "objects", lambda: [0 if i % 4 == 0 else n for i, n in enumerate(objects)])
    kept = [i for i in range(20) if i % 4]
    options = {"batch_size": 2, "shuffle": True, "seed": 0}
    assert list(Loader(split, **options, drop_empty=True).indices) == kept
    assert sorted(Loader(split, **options, drop_empty=True).order(1)) == kept
    half = Loader(split, **options, drop_empty=True, share=0.4).indices
    assert len(half) == 6
    assert set(half) <= set(kept)
    assert len(Loader(split, **options).indices) == 20


def test_a_balanced_epoch_shows_an_image_in_another_way_each_time(split, monkeypatch):
    """The first image alone has a class of its own, so it comes three or four times in twenty."""
    labels = split.labels
    monkeypatch.setattr(split, "labels", lambda i: labels(i) * 0 + (2 if i == 0 else 1))
    monkeypatch.setattr(split, "ignore", lambda i: torch.zeros_like(labels(i), dtype=torch.bool))
    options = {"augmentation": train_augmentation(scale_range=(0.5, 1.5)), "shuffle": True, "seed": 3, "balance": 1.0}
    loader = Loader(split, batch_size=20, **options)
    assert len(loader) == 1
    batch = next(loader.epoch(0))
    shown = [i for i, index in enumerate(batch.indices) if index == 0]
    assert len(shown) in {3, 4}
    assert all(not torch.equal(batch.images[shown[0]], batch.images[i]) for i in shown[1:])
    small = list(Loader(split, batch_size=4, **options).epoch(0))
    assert torch.equal(torch.cat([one.images for one in small]), batch.images)
    parts = [next(Loader(split, batch_size=20, **options, rank=r, world_size=2).epoch(0)).images for r in range(2)]
    assert torch.equal(torch.cat(parts), batch.images)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight images to train on; the first has no box, the second one of a class of its own."""
    path = write_voc(tmp_path_factory.mktemp("voc") / "voc", images=8)
    for name, pattern, text in (
        ("train000", r"<object>.*</object>", ""),
        ("train001", r"<name>\w+</name>", "<name>rare</name>"),
    ):
        file = path / "Annotations" / f"{name}.xml"
        file.write_text(re.sub(pattern, text, file.read_text()))
    return path


def prepared(folder, cache, **training):
    values = {"data": f"voc:{folder}", "image_size": (64, 64), "training": {"batch_size": 2, **training}}
    settings = DetectionSettings.model_validate(values)
    return settings, prepare_data(settings, cache, lambda *_: None)


@pytest.mark.parametrize(
    ("training", "note"),
    [
        ({"empty": "drop"}, "1 of 8 training images have no box that counts: left out (training.empty)"),
        (
            {"sampling": "class-balanced", "balance_threshold": 0.5},
            "1 of 8 training images have a rare class, and come up to 2.00 times as often",
        ),
        (
            {"sampling": "class-balanced"},
            "no class is rare, so all training images come as often: raise training.balance_threshold",
        ),
    ],
)
def test_what_is_chosen_is_noted_and_done(folder, tmp_path, training, note):
    settings, data = prepared(folder, tmp_path, **training)
    notes = data_notes(settings, data)
    assert note in notes
    assert not {note, *notes[len(data.notes) :]} & set(data_notes(prepared(folder, tmp_path)[0], data))
    loader = train_loader(settings.training, data, seed=0, epochs=1, device=torch.device("cpu"))
    empty = data.split("train").names.index("train000")
    assert (empty in loader.indices) == ("empty" not in training)
    drawn = Counter(index for epoch in range(20) for index in loader.order(epoch))
    rare = drawn[data.split("train").names.index("train001")]
    assert (rare > 25) == ("balance_threshold" in training)


def test_mosaics_end_before_the_training_does(folder, tmp_path):
    training = {"mosaic": 1.0, "mosaic_off_epochs": 2, "flip": 0.0}
    settings, data = prepared(folder, tmp_path, **training)
    loader = train_loader(settings.training, data, seed=0, epochs=3, device=torch.device("cpu"))
    split = data.split("train")
    for epoch in range(3):
        batches = list(loader.epoch(epoch))
        shown = torch.cat([batch.images for batch in batches])
        plain = split.images([index for batch in batches for index in batch.indices])
        assert torch.equal(shown, plain) == (epoch > 0)
