"""Image files that do not decode are refused, or left out and counted."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import ImageFile
from voc_folder import write_voc

from spnas_core.errors import DataError
from spnas_detect.data import StreamedSplit, build_cache, open_data, read_data, read_image
from spnas_detect.data.cache.files import PixelFile
from spnas_detect.data.decoding import drop_unreadable
from spnas_detect.data.survey import find_faults


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


@pytest.fixture
def torn(tmp_path):
    """A VOC folder of which some images are cut off, and one is no image at all."""
    root = write_voc(tmp_path / "voc", images=8)
    for name in ("train001", "train004", "train006", "test002"):
        cut(root / "JPEGImages" / f"{name}.jpg")
    (root / "JPEGImages" / "train007.jpg").write_bytes(b"nothing")
    return root


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (RuntimeError("Missing or empty image item"), DataError),
        (ZeroDivisionError("of sides"), DataError),
        (OSError("torn"), DataError),
        (MemoryError(), MemoryError),
    ],
)
def test_whatever_pillow_raises_is_damage_and_what_the_machine_lacks_is_not(tmp_path, monkeypatch, failure, expected):
    def decode(*_):
        raise failure

    file = write_voc(tmp_path / "voc", images=6) / "JPEGImages" / "train001.jpg"
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(expected):
        read_image(file)


DROPPED = (
    "4 training image(s) that do not decode left out: train001, train004, train006, …",
    "1 test image(s) that do not decode left out: test002",
)


def test_images_that_do_not_decode_are_refused_by_default_and_all_named(torn, tmp_path):
    with pytest.raises(DataError, match=r"train001\.jpg does not decode: .*; and 4 more faults"):
        build_cache(open_data(f"voc:{torn}", seed=0), tmp_path / "cache", image_size=(32, 32))


def test_dropped_images_are_counted_and_the_others_cached_as_without_them(torn, tmp_path):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    cached = build_cache(data, tmp_path / "cache", image_size=(32, 40))
    assert cached.notes == DROPPED
    for split, file in (("train", "train.txt"), ("test", "test.txt")):
        lists = torn / "ImageSets" / "Main" / file
        gone = {"train001", "train004", "train006", "train007", "test002"}
        lists.write_text("".join(f"{name}\n" for name in lists.read_text().split() if name not in gone))
        assert len(cached.split(split)) == len(lists.read_text().split())
    whole = build_cache(open_data(f"voc:{torn}", seed=0), tmp_path / "cache", image_size=(32, 40))
    assert whole.content == cached.content
    for split in ("train", "validation", "test"):
        one, other = cached.split(split), whole.split(split)
        assert one.names == other.names
        assert torch.equal(one.images(range(len(one))), other.images(range(len(other))))
        for folder in (cached.folder, whole.folder):
            assert np.load(folder / split / "images.npy").shape == (len(one), 3, 40, 32)
        assert (cached.folder / split / "images.npy").read_bytes() == (whole.folder / split / "images.npy").read_bytes()


def test_streaming_drops_what_the_cache_drops(torn, tmp_path):
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    cached = build_cache(data, tmp_path / "cache", image_size=(32, 32))
    left = drop_unreadable(data)
    assert left.notes == DROPPED
    for split in ("train", "validation", "test"):
        one, other = cached.split(split), StreamedSplit(left.splits[split], (32, 32))
        assert one.names == other.names
        assert torch.equal(one.images(range(len(one))), other.images(range(len(one))))
    kept = open_data(f"voc:{torn}", seed=0)
    assert drop_unreadable(kept) is kept


def test_check_takes_dropped_images_for_no_hindrance(torn):
    data = read_data(f"voc:{torn}", seed=0, options={"on_fault": "drop"})
    found = find_faults(data, opens_images=True)
    assert [fault.where for fault in found] == ["train001", "train004", "train006", "train007", "test002"]
    assert not any(fault.is_fatal for fault in found)
    from spnas_detect.commands.data import check

    assert CliRunner().invoke(check, [f"voc:{torn}"]).exit_code == 1
    assert CliRunner().invoke(check, [f"voc:{torn}", "--data-option", "on_fault=drop"]).exit_code == 0


def test_a_split_that_is_emptied_is_refused_everywhere(torn, tmp_path):
    for file in (torn / "JPEGImages").glob("validation*.jpg"):
        cut(file)
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    message = r"the validation split of .* has no box in its 0 image\(s\) that decode"
    with pytest.raises(DataError, match=message):
        build_cache(data, tmp_path / "cache", image_size=(32, 32))
    with pytest.raises(DataError, match=message):
        drop_unreadable(data)
    assert any(fault.is_fatal for fault in find_faults(data, opens_images=True))


def test_an_image_without_any_size_is_dropped_or_refused_when_it_is_opened(torn):
    file = torn / "Annotations" / "train007.xml"
    text = file.read_text()
    file.write_text(text.replace("<width>64<", "<width>0<"))
    with pytest.raises(DataError, match=r"train007\.jpg does not decode"):
        open_data(f"voc:{torn}", seed=0)
    data = open_data(f"voc:{torn}", seed=0, on_fault="drop")
    assert "1 image(s) that do not decode left out: train007.jpg" in data.notes
    assert "train007" not in {record.name for record in data.splits["train"]}


@pytest.mark.parametrize("kept", [[], [0], [4], [1, 3], [0, 1, 2, 3, 4]])
def test_a_pixel_file_keeps_what_it_is_told_to(tmp_path, kept):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 7, 9), np.uint8)
    with PixelFile(tmp_path / "a.npy", 5, (9, 7)) as file:
        for index in (3, 0, 4, 2, 1):
            file.write(index, torch.from_numpy(images[index]))
        file.keep(kept)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), images[kept])
    with PixelFile(tmp_path / "b.npy", len(kept), (9, 7)) as file:
        for place, index in enumerate(kept):
            file.write(place, torch.from_numpy(images[index]))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
