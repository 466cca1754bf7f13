"""Whatever form a cache has, whoever reads it gets the same bits, and hears the same of what is wrong."""

import errno
import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from mixed_images import write_mixed
from tiny_training import tiny_settings
from voc_folder import write_voc

from spnas_core.encoding import Architecture
from spnas_core.errors import DataError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.data import (
    FaultyDataError,
    Loader,
    StreamedSplit,
    build_cache,
    open_cache,
    open_data,
    train_augmentation,
)
from spnas_detect.data.cache import packing
from spnas_detect.data.cache.modes import GIB, MODES, Needs, needs_of, suitable_mode
from spnas_detect.jobs import TrainFolder, train
from spnas_detect.jobs.monitor import Silent
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask

CANVAS = (96, 64)
OTHERS = ("encoded", "none")
SHAPES = {"image_size": 64, "max_size": 32, "train": 6, "validation": 2, "test": 2}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return write_mixed(tmp_path_factory.mktemp("mixed") / "coco")


@pytest.fixture(scope="module")
def caches(mixed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    datas = {"files": open_data(f"coco:{mixed}", seed=0), "shapes": open_data("shapes", seed=0, **SHAPES)}
    return {
        (kind, orientation, mode): build_cache(data, folder, image_size=CANVAS, orientation=orientation, mode=mode)
        for kind, data in datas.items()
        for orientation in ("fixed", "either")
        for mode in MODES
    }


def read(split):
    """Everything that a split says."""
    found = [split.images([index]) for index in range(len(split))]
    for field in ("boxes", "labels", "ignore", "canvas_boxes"):
        found += [getattr(split, field)(index) for index in range(len(split))]
    for field in ("scale", "size", "resized", "tags", "is_transposed"):
        found += [getattr(split, field)(index) for index in range(len(split))]
    return found


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("mode", OTHERS)
@pytest.mark.parametrize("orientation", ["fixed", "either"])
@pytest.mark.parametrize("kind", ["files", "shapes"])
def test_every_form_reads_the_same_bits_and_has_the_same_content(caches, kind, orientation, mode):
    decoded, other = caches[kind, orientation, "images"], caches[kind, orientation, mode]
    assert (decoded.content, decoded.notes, decoded.classes) == (other.content, other.notes, other.classes)
    for split in ("train", "validation", "test"):
        assert same(read(decoded.split(split)), read(other.split(split)))
        assert decoded.split(split).names == other.split(split).names


@pytest.mark.parametrize("orientation", ["fixed", "either"])
def test_a_cache_reads_as_the_stream(caches, mixed, orientation):
    records = open_data(f"coco:{mixed}", seed=0).splits["train"]
    assert same(
        read(StreamedSplit(records, CANVAS, orientation)), read(caches["files", orientation, "images"].split("train"))
    )


def test_each_form_keeps_what_it_says(caches, mixed):
    decoded, encoded, nothing = (caches["files", "fixed", mode] for mode in MODES)
    names = encoded.split("train").names
    files = [(mixed / "images" / name).read_bytes() for name in names]
    assert sorted((encoded.folder / "train" / "images.pack").read_bytes()) == sorted(b"".join(files))
    assert np.load(decoded.folder / "train" / "images.npy").shape == (len(names), 3, 64, 96)
    assert (nothing.folder / "train" / "images.pack").stat().st_size == 0
    assert not any((one.folder / "train" / "images.npy").exists() for one in (encoded, nothing))
    # what comes from no file is kept as PNG
    for mode in OTHERS:
        assert (caches["shapes", "fixed", mode].folder / "train" / "images.pack").read_bytes()[1:4] == b"PNG"


def batches(split, prefetch=0, **options):
    loader = Loader(
        split, batch_size=4, augmentation=train_augmentation(), shuffle=True, seed=1, prefetch=prefetch, **options
    )
    return [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]


def same_batches(one, other):
    return len(one) == len(other) and all(
        a.indices == b.indices and torch.equal(a.images, b.images) and all(map(torch.equal, a.targets, b.targets))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("mode", OTHERS)
def test_batches_are_the_same_with_any_number_of_threads_and_in_another_process(caches, mode):
    whole = batches(caches["files", "fixed", "images"].split("train"))
    split = caches["files", "fixed", mode].split("train")
    threads = torch.get_num_threads()
    assert all(same_batches(whole, batches(split, prefetch)) for prefetch in (0, 1, 3))
    again = pickle.loads(pickle.dumps(split))
    assert same_batches(whole, batches(again, image_sizes=[CANVAS]))
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert same(read(split), pool.submit(read, split).result())
    torch.set_num_threads(3)
    try:
        indices = range(len(split))
        assert torch.equal(split.images(indices), caches["files", "fixed", "images"].split("train").images(indices))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def torn(tmp_path):
    root = write_voc(tmp_path / "voc", images=8)
    for name in ("train001", "train004", "test002"):
        file = root / "JPEGImages" / f"{name}.jpg"
        file.write_bytes(file.read_bytes()[:-300])
    (root / "JPEGImages" / "train007.jpg").write_bytes(b"nothing")
    return root


def test_faults_are_the_same_in_every_form(torn, tmp_path):
    found = []
    for mode in MODES:
        with pytest.raises(FaultyDataError) as caught:
            build_cache(open_data(f"voc:{torn}", seed=0), tmp_path / "cache", image_size=(32, 32), mode=mode)
        found.append(caught.value.faults)
        assert not (tmp_path / "cache").exists()
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 4


def test_what_is_dropped_is_the_same_in_every_form(torn, tmp_path):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    decoded, *others = (build_cache(data, tmp_path / "cache", image_size=(32, 40), mode=mode) for mode in MODES)
    for other in others:
        assert (decoded.content, decoded.notes) == (other.content, other.notes)
        assert all(same(read(decoded.split(name)), read(other.split(name))) for name in ("train", "test"))


def file_bytes(data):
    return sum(record.read.path.stat().st_size for records in data.splits.values() for record in records)


def test_a_full_disk_says_what_a_pack_needs_and_leaves_nothing(mixed, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = open_data(f"coco:{mixed}", seed=0)
    size = file_bytes(data)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=f"the image cache needs {size:,} bytes in .*: make room there"):
        build_cache(data, tmp_path / "cache", image_size=CANVAS, mode="encoded")
    assert not (tmp_path / "cache").exists()
    build_cache(data, tmp_path / "cache", image_size=CANVAS, mode="none")  # which writes no image


def test_the_space_of_a_pack_is_reserved_and_what_is_left_of_it_given_back(tmp_path):
    with packing.PackFile(tmp_path / "pack", 10_000) as pack:
        assert (tmp_path / "pack").stat().st_size == 10_000
        assert [pack.add(b"abc"), pack.add(b"de")] == [0, 3]
    assert (tmp_path / "pack").read_bytes() == b"abcde"


@pytest.mark.parametrize("mode", OTHERS)
def test_data_that_changes_while_it_is_used_is_noticed(torn, tmp_path, mode):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    split = build_cache(data, tmp_path / "cache", image_size=(32, 32), mode=mode).split("train")
    before = split.images([0])
    shutil.copy(torn / "JPEGImages" / "train002.jpg", tmp_path / "kept.jpg")
    (torn / "JPEGImages" / f"{split.names[0]}.jpg").unlink()
    if mode == "encoded":
        assert torch.equal(split.images([0]), before)
        return
    with pytest.raises(DataError, match=f"image .*{split.names[0]}.jpg does not exist"):
        split.images([0])
    from PIL import Image

    Image.new("RGB", (65, 64)).save(torn / "JPEGImages" / f"{split.names[0]}.jpg")
    with pytest.raises(DataError, match=f"image {split.names[0]} was 64x64 when the data was read, and is 65x64 now"):
        split.images([0])


@pytest.mark.parametrize("is_reduced", [False, True])
def test_another_picture_under_the_name_of_one_that_was_read_is_refused(torn, tmp_path, is_reduced):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    cache = build_cache(data, tmp_path / "cache", image_size=(32, 32), mode="none", is_reduced=is_reduced)
    split = cache.split("train")
    before = split.images([0])
    path = torn / "JPEGImages" / f"{split.names[0]}.jpg"
    content, was = path.read_bytes(), path.stat()
    shutil.copy(torn / "JPEGImages" / f"{split.names[1]}.jpg", path)
    for _ in range(2):
        with pytest.raises(DataError, match=f"image {split.names[0]} shows something else than when the data was read"):
            split.images([0])
    path.write_bytes(content)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns + 10**9))
    assert torch.equal(split.images([0]), before)  # it is known by what it shows, not by when it was written


COCO = Needs(images=355 * GIB, encoded=19 * GIB, none=0)


@pytest.mark.parametrize(
    ("limit", "free", "mode", "text"),
    [
        (400, 1000, "images", "images are cached decoded, 355.0 GiB"),
        (
            64,
            1000,
            "encoded",
            "would take 355.0 GiB, more than cache_limit = 64 GiB: they are cached as their files are",
        ),
        (400, 390, "encoded", "more than nine tenths of 390.0 GiB free: they are cached as their files are, 19.0 GiB"),
        (64, 20, "none", "more than nine tenths of 20.0 GiB free: they are cached not at all, and read from the data"),
        (0, 1000, "none", "more than cache_limit = 0 GiB"),
    ],
)
def test_the_quickest_form_that_fits_is_chosen(limit, free, mode, text):
    found, said = suitable_mode(COCO, limit, free * GIB)
    assert found == mode
    assert text in said


def test_small_data_is_decoded_and_nothing_is_said():
    assert suitable_mode(Needs(GIB - 1, 1000, 0), 64, 100 * GIB) == ("images", "")


def test_needs_are_those_of_the_files_and_canvases(mixed):
    data = open_data(f"coco:{mixed}", seed=0)
    found = needs_of(data, CANVAS)
    assert found.images == sum(map(len, data.splits.values())) * 3 * 96 * 64
    assert found.encoded == file_bytes(data)
    assert found.none == 0
    shapes = needs_of(open_data("shapes", seed=0, **SHAPES), CANVAS)
    assert shapes.none == shapes.encoded >= 10 * 3 * 64 * 64


def test_auto_takes_a_cache_that_is_there_and_else_what_fits(mixed, tmp_path):
    data = open_data(f"coco:{mixed}", seed=0)

    def built(**options):
        return build_cache(data, tmp_path, image_size=CANVAS, **options).mode

    assert built(mode="auto", limit=0) == "none"
    assert built(mode="auto") == "none"  # it is there
    assert built(mode="encoded") == "encoded"
    assert built(mode="auto", limit=0) == "encoded"
    assert built(mode="images") == "images"
    assert built(mode="auto", limit=0) == "images"
    other = replace(data, fingerprint="other")
    assert build_cache(other, tmp_path, image_size=CANVAS, mode="auto").mode == "images"


def test_a_candidate_scores_the_same_in_every_form_in_whichever_process(tmp_path):
    voc, found = write_voc(tmp_path / "voc", images=8), []
    request = EvaluationRequest(0, identity(Architecture.parse("b@8_1-1-1-1")), None, None, Fidelity(2), seed=4)
    for mode in MODES:
        task = DetectionTask(
            DetectionSettings(data=f"voc:{voc}", image_size=(64, 64), training={"batch_size": 4}, cache=mode)
        )
        task.prepare(tmp_path / mode, lambda *_: None)
        again = pickle.loads(pickle.dumps(task))
        found.append((task.fingerprint, repr(again.evaluate(request, lambda _: None).metrics)))
    assert found[0] == found[1] == found[2]


class Killed(BaseException):
    pass


class Stopping(Silent):
    def step(self, record, speed):
        if record.step == 4:
            raise Killed


@pytest.mark.parametrize("mode", OTHERS)
def test_a_training_goes_on_in_another_form_and_scores_the_same(tmp_path, mode):
    voc = write_voc(tmp_path / "voc", images=8)

    def settings(cache):
        return tiny_settings(data=f"voc:{voc}", data_options={}, cache=cache)

    whole = train(settings(mode), tmp_path / "whole").scores
    with pytest.raises(Killed):
        train(settings("images"), tmp_path / "out", monitor=Stopping())
    folder = TrainFolder(tmp_path / "out")
    assert train(settings(mode), folder.path, resume=True).scores == whole
    assert folder.read_settings().cache == mode
    assert {open_cache(one).mode for one in folder.cache.iterdir()} == {"images", mode}
