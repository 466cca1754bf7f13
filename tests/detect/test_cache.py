import json
import pickle
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from spnas_core.errors import DataError
from spnas_detect.data import DetectionData, ImageRecord, build_cache, open_cache, open_data
from spnas_detect.data.fitting import letterbox

BOXES = [[10, 20, 50, 60]]


def record(name="a", size=(80, 40), boxes=BOXES, ignore=None, pixels=None, annotated=None, tags=()):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    image = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return ImageRecord(
        name=name,
        read=lambda: image if pixels is None else pixels(),
        width=(annotated or size)[0],
        height=(annotated or size)[1],
        boxes=boxes,
        labels=np.arange(len(boxes)) % 2 + 1,
        ignore=np.zeros(len(boxes), bool) if ignore is None else np.asarray(ignore),
        tags=tags,
    )


def dataset(*train, validation=(), test=(), fingerprint="f", notes=("a note",)):
    splits = {
        "train": train or (record(),),
        "validation": validation or (record("v"),),
        "test": test or (record("t"),),
    }
    return DetectionData("mine:x", ("cat", "dog"), splits, fingerprint, notes)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_cache_keeps_annotations_and_notes(tmp_path):
    train = (
        record("one", boxes=[[1, 2, 3, 4], [5, 6, 7, 8]], ignore=[False, True]),
        record("none", boxes=[]),
    )
    cache = build_cache(dataset(*train), tmp_path, image_size=(40, 40))
    assert cache.classes == ("cat", "dog")
    assert cache.notes[0] == "a note"
    assert cache.image_size == (40, 40)
    split = cache.split("train")
    assert len(split) == 2
    assert split.names == ("one", "none")
    assert split.boxes(0).tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert split.canvas_boxes(0).tolist() == [[0.5, 1, 1.5, 2], [2.5, 3, 3.5, 4]]
    assert split.labels(0).tolist() == [1, 2]
    assert split.ignore(0).tolist() == [False, True]
    assert split.boxes(1).shape == (0, 4)
    assert (split.boxes(0).dtype, split.labels(0).dtype) == (torch.float32, torch.int64)
    assert (split.scale(0), split.size(0), split.resized(0)) == (0.5, (80, 40), (40, 20))
    assert split.images([1, 0, 1]).shape == (3, 3, 40, 40)
    with pytest.raises(IndexError):
        split.boxes(2)


def test_tags_stay_with_their_boxes_through_cache_and_pickle(tmp_path):
    two = [[30, 10, 90, 30], [100, 10, 110, 20], [1, 1, 5, 5]]  # the second one lies outside the image
    train = (
        record("tagged", boxes=two, tags=(("occluded>40", "b"), ("gone",), ())),
        record("again", tags=(("occluded>40", "b"),)),
        record("none", boxes=[], tags=()),
    )
    cache = build_cache(dataset(*train), tmp_path, image_size=(40, 40))
    for split in (cache.split("train"), pickle.loads(pickle.dumps(cache.split("train")))):
        assert [split.tags(i) for i in range(3)] == [(("occluded>40", "b"), ()), (("occluded>40", "b"),), ()]
    assert cache.split("test").tags(0) == ()
    with pytest.raises(IndexError):
        cache.split("train").tags(3)


def test_tags_that_do_not_fit_the_boxes_are_refused(tmp_path):
    with pytest.raises(DataError, match="image a has 1 boxes and tags for 2"):
        build_cache(dataset(record(tags=(("x",), ()))), tmp_path, image_size=(8, 8))


def test_cache_whose_list_of_tags_is_too_short_is_damaged(tmp_path):
    folder = build_cache(dataset(record(tags=(("x",),))), tmp_path, image_size=(8, 8)).folder
    content = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(json.dumps({**content, "tags": []}))
    with pytest.raises(DataError, match="train has tags that cache"):
        open_cache(folder)


@pytest.mark.parametrize("size", [(64, 64), (64, 17), (13, 90), (200, 30), (7, 5), (1, 300)])
def test_letterbox_keeps_the_aspect_and_agrees_with_pillow(size):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (max(size[1] // 4, 1), max(size[0] // 4, 1), 3), np.uint8)
    image = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))
    fitted, scale = letterbox(image, (64, 48))
    assert scale == min(64 / size[0], 48 / size[1])
    height, width = fitted.shape[1:]
    assert abs(width - size[0] * scale) <= 0.5 or width == 1
    assert abs(height - size[1] * scale) <= 0.5 or height == 1
    peer = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    assert np.abs(fitted.permute(1, 2, 0).numpy().astype(int) - peer).max() <= 2


def test_image_lies_at_the_top_left_and_the_rest_is_zero(tmp_path):
    white = record(size=(80, 40), pixels=lambda: np.full((40, 80, 3), 255, np.uint8))
    image = build_cache(dataset(white), tmp_path, image_size=(60, 60)).split("train").images([0])[0]
    assert (image[:, :30] == 255).all()
    assert (image[:, 30:] == 0).all()


def test_image_of_the_canvas_size_is_unchanged(tmp_path):
    one = record()
    cached = build_cache(dataset(one), tmp_path, image_size=(80, 40)).split("train").images([0])[0]
    assert np.array_equal(cached.permute(1, 2, 0).numpy(), one.read())


def test_complete_cache_is_reused(tmp_path):
    build_cache(dataset(), tmp_path, image_size=(40, 40))

    def unreadable():
        raise AssertionError("read again")

    again = dataset(record(pixels=unreadable))
    assert len(build_cache(again, tmp_path, image_size=(40, 40)).split("train")) == 1
    assert len(files(tmp_path)) == 1


def test_other_content_or_size_is_another_folder(tmp_path):
    for data, size in ((dataset(), (40, 40)), (dataset(), (40, 48)), (dataset(fingerprint="g"), (40, 40))):
        build_cache(data, tmp_path, image_size=size)
    assert len(files(tmp_path)) == 3
    assert all(name.startswith("mine-") for name in files(tmp_path))


def test_cache_and_split_pickle_as_their_folder(tmp_path):
    cache = build_cache(dataset(), tmp_path, image_size=(400, 400))
    for thing in (cache, cache.split("train")):
        text = pickle.dumps(thing)
        assert len(text) < 500
        back = pickle.loads(text)
        split = back if thing is not cache else back.split("train")
        assert torch.equal(split.images([0]), cache.split("train").images([0]))


def test_progress_counts_all_images(tmp_path):
    seen = []
    train = [record(str(i)) for i in range(5)]
    build_cache(dataset(*train), tmp_path, image_size=(8, 8), progress=lambda n, total: seen.append((n, total)))
    assert seen == [(i, 7) for i in range(1, 8)]


def test_order_survives_threads(tmp_path):
    def shade(value):
        return lambda: np.full((4, 4, 3), value, np.uint8)

    train = [record(str(i), size=(4, 4), boxes=[[0, 0, i % 4 + 1, 1]], pixels=shade(i)) for i in range(64)]
    split = build_cache(dataset(*train), tmp_path, image_size=(4, 4)).split("train")
    assert split.images(range(64))[:, 0, 0, 0].tolist() == list(range(64))
    assert split.names == tuple(str(i) for i in range(64))
    assert [split.boxes(i)[0, 2].item() for i in range(64)] == [i % 4 + 1 for i in range(64)]


def test_interrupted_build_leaves_nothing_under_the_final_name(tmp_path):
    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(dataset(), tmp_path, image_size=(8, 8), progress=stop)
    assert files(tmp_path) == []
    assert len(build_cache(dataset(), tmp_path, image_size=(8, 8)).split("test")) == 1


def test_finished_cache_is_the_renamed_temporary_folder(tmp_path):
    seen = set()

    def look(done, total):
        seen.update((path.name, path.stat().st_ino) for path in tmp_path.iterdir())

    cache = build_cache(dataset(), tmp_path, image_size=(8, 8), progress=look)
    ((name, inode),) = seen
    assert name != cache.folder.name
    assert inode == cache.folder.stat().st_ino


def test_racing_builds_agree(tmp_path):
    barrier = threading.Barrier(4)
    found = []

    def build():
        waiting = record(pixels=lambda: (barrier.wait(10), np.zeros((40, 80, 3), np.uint8))[1])
        found.append(build_cache(dataset(waiting), tmp_path, image_size=(8, 8)))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({cache.folder for cache in found}) == 1
    assert len(found) == 4
    assert len(files(tmp_path)) == 1


def test_damaged_cache_says_what_to_do(tmp_path):
    cache = build_cache(dataset(), tmp_path, image_size=(8, 8))
    images = cache.folder / "train" / "images.npy"
    content = images.read_bytes()
    for damage in (lambda: images.write_bytes(content[:100]), images.unlink):
        damage()
        with pytest.raises(DataError, match=r"is damaged: remove the folder"):
            open_cache(cache.folder)
        with pytest.raises(DataError, match=r"is damaged: remove the folder"):
            build_cache(dataset(), tmp_path, image_size=(8, 8))


def test_missing_cache_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no image cache at .*nowhere"):
        open_cache(tmp_path / "nowhere")


def test_unreadable_image_is_named(tmp_path):
    def fail():
        raise OSError("disk on fire")

    with pytest.raises(DataError, match=r"image bad cannot be read: disk on fire"):
        build_cache(dataset(record(), record("bad", pixels=fail)), tmp_path, image_size=(8, 8))
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "train", [(record(boxes=[]),), (record(boxes=[[0, 0, 1, 1]], ignore=[True]), record("b", boxes=[]))]
)
def test_training_split_without_a_box_is_refused(tmp_path, train):
    with pytest.raises(DataError, match=r"training split of mine:x has no box"):
        build_cache(dataset(*train), tmp_path, image_size=(8, 8))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_split_to_score_on_without_a_box_is_refused(tmp_path, split):
    crowd = record("c", boxes=[[0, 0, 1, 1]], ignore=[True])
    data = dataset(record(), **{split: (record("b", boxes=[]), crowd)})
    with pytest.raises(DataError, match=rf"{split} split of mine:x has no box to score on in its 2 image\(s\)"):
        build_cache(data, tmp_path, image_size=(8, 8))
    assert files(tmp_path) == []


def test_boxes_that_all_lie_outside_their_images_are_refused(tmp_path):
    wrong = record("w", size=(40, 20), annotated=(400, 200), boxes=[[50, 50, 60, 60]])
    with pytest.raises(DataError, match=r"no box of the training split of mine:x lies inside its image: .* first w"):
        build_cache(dataset(wrong), tmp_path, image_size=(8, 8))
    assert files(tmp_path) == []


@pytest.mark.parametrize("label", [0, -1, 3])
def test_label_outside_the_declared_classes_names_image_and_label(tmp_path, label):
    wrong = replace(record("w", boxes=[[0, 0, 9, 9]]), labels=np.asarray([label]))
    with pytest.raises(DataError, match=rf"image w has a box of class {label}: the data declares 1…2"):
        build_cache(dataset(record(), wrong), tmp_path, image_size=(8, 8))
    assert files(tmp_path) == []


def test_empty_canvas_and_unknown_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="image_size 0x8 is empty"):
        build_cache(dataset(), tmp_path, image_size=(0, 8))
    with pytest.raises(DataError, match="no split 'val'; known: test, train, validation"):
        build_cache(dataset(), tmp_path, image_size=(8, 8)).split("val")


def test_pixels_overrule_a_wrong_annotated_size(tmp_path):
    wrong = record("w", size=(40, 20), annotated=(100, 100), boxes=[[30, 10, 90, 90], [50, 50, 60, 60]])
    cache = build_cache(dataset(wrong), tmp_path, image_size=(80, 80))
    split = cache.split("train")
    assert (split.size(0), split.scale(0)) == ((40, 20), 2.0)
    assert split.boxes(0).tolist() == [[30, 10, 40, 20]]
    assert split.labels(0).tolist() == [1]
    assert "first w: 40x20 instead of 100x100; 1 box(es) outside dropped" in cache.notes[-1]


def test_lazy_records_are_made_once(tmp_path):
    class Lazy(Sequence):
        made = 0

        def __len__(self):
            return 3

        def __getitem__(self, index):
            if not 0 <= index < 3:
                raise IndexError(index)
            self.made += 1
            return record(str(index))

    lazy = Lazy()
    data = dataset()
    build_cache(replace(data, splits={**data.splits, "train": lazy}), tmp_path, image_size=(8, 8))
    assert lazy.made == 3


def test_split_without_images_is_kept(tmp_path):
    data = dataset()
    data = replace(data, splits={**data.splits, "test": ()})
    assert len(build_cache(data, tmp_path, image_size=(8, 8)).split("test")) == 0


def test_shapes_go_through_unchanged(tmp_path):
    data = open_data("shapes", seed=0, image_size=48, train=5, validation=2, test=3, max_size=20)
    cache = build_cache(data, tmp_path, image_size=(48, 48))
    for name, split in data.splits.items():
        cached = cache.split(name)
        for i, one in enumerate(split):
            assert np.array_equal(cached.images([i])[0].permute(1, 2, 0).numpy(), one.read())
            assert np.array_equal(cached.boxes(i).numpy(), one.boxes)
