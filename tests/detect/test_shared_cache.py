"""One folder of caches for several runs: what lies in it is not decoded again, wherever runs and data lie."""

import json
import os

import pytest
import torch
from commands import done, refused
from mixed_images import write_mixed
from tiny_training import tiny_settings
from voc_folder import write_voc

from spnas_core.errors import ConfigError
from spnas_detect.data import build_cache, open_data
from spnas_detect.data.images import IMAGE_SUFFIXES, ImageFile
from spnas_detect.jobs import train
from spnas_search.run import resume_run, start_run
from spnas_search.run.identity import check_settings

TINY = ["b@8_1-2", "--image-size", "64x64", "--epochs", "1", "--set", "detector.neck_channels=8"]
TINY += ["--set", "detector.head_channels=16", "--set", "training.batch_size=4"]


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc", images=8)


@pytest.fixture
def decoded(monkeypatch):
    """The images that were decoded."""
    seen = []
    call, decode = ImageFile.__call__, ImageFile.decode
    monkeypatch.setattr(ImageFile, "__call__", lambda self: (seen.append(self.path), call(self))[1])
    monkeypatch.setattr(ImageFile, "decode", lambda self, content: (seen.append(self.path), decode(self, content))[1])
    return seen


def moved(folder):
    target = folder.parent / "elsewhere" / "deeper" / folder.name
    target.parent.mkdir(parents=True)
    return folder.rename(target)


def test_a_moved_data_set_is_recognised_and_not_decoded_again(voc, tmp_path, decoded):
    before = build_cache(open_data(f"voc:{voc}", seed=0), tmp_path / "cache", image_size=(32, 32))
    assert len(decoded) == 16
    voc = moved(voc)
    again = build_cache(open_data(f"voc:{voc}", seed=0), tmp_path / "cache", image_size=(32, 32))
    assert (again.folder, again.content, len(decoded)) == (before.folder, before.content, 16)
    os.utime(voc / "JPEGImages" / "train000.jpg", ns=(1, 1))
    other = build_cache(open_data(f"voc:{voc}", seed=0), tmp_path / "cache", image_size=(32, 32))
    assert (other.folder != before.folder, len(decoded)) == (True, 32)


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc"])
def test_every_layout_is_recognised_where_it_was_moved(tmp_path, kind):
    folder = write_voc(tmp_path / "voc", images=4) if kind == "voc" else write_mixed(tmp_path / "coco")
    if kind == "yolo":
        from spnas_detect.data.conversion import LAYOUTS, convert

        folder = convert(open_data(f"coco:{folder}", seed=0), LAYOUTS["yolo"], tmp_path / "yolo").folder
    before = open_data(f"{kind}:{folder}", seed=0).fingerprint
    folder = moved(folder)
    assert open_data(f"{kind}:{folder}", seed=0).fingerprint == before
    file = next(file for file in sorted(folder.rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES)
    os.utime(file, ns=(1, 1))
    assert open_data(f"{kind}:{folder}", seed=0).fingerprint != before


def test_what_is_read_from_the_data_is_read_where_it_lies_now(voc, tmp_path):
    def cache(folder):
        return build_cache(open_data(f"voc:{folder}", seed=0), tmp_path / "cache", image_size=(32, 32), mode="none")

    before = cache(voc).split("train").images(range(8))
    voc = moved(voc)
    again = cache(voc)
    assert torch.equal(again.split("train").images(range(8)), before)
    assert again.root == voc / "JPEGImages"


def test_trainings_and_comparisons_share_a_folder(voc, tmp_path, decoded):
    shared = tmp_path / "shared"
    data = ["--data", f"voc:{voc}", "--cache", str(shared)]
    done("train", *TINY, *data, "--out", str(tmp_path / "one"))
    assert len(decoded) == 16
    done("train", *TINY, *data, "--out", str(tmp_path / "two"))
    done("compare", *TINY[:1], "b@8_11-2", *TINY[1:], *data, "--seeds", "1", "--out", str(tmp_path / "three"))
    assert len(decoded) == 16
    assert len(list(shared.iterdir())) == 1
    assert not any((tmp_path / name / "cache").exists() for name in ("one", "two", "three"))


def test_the_variable_names_the_folder_and_the_option_wins(voc, tmp_path, monkeypatch, decoded):
    monkeypatch.setenv("SPNAS_CACHE", str(tmp_path / "variable"))
    data = ["--data", f"voc:{voc}"]
    done("train", *TINY, *data, "--out", str(tmp_path / "one"))
    assert (tmp_path / "variable").is_dir()
    done("train", *TINY, *data, "--out", str(tmp_path / "two"), "--cache", str(tmp_path / "option"))
    assert len(decoded) == 32
    assert not (tmp_path / "one" / "cache").exists()
    done("train", "--out", str(tmp_path / "one"), "--resume")
    assert len(decoded) == 32


def test_a_shared_folder_outlives_a_run_that_cannot_start(voc, tmp_path):
    shared = tmp_path / "shared"
    train(tiny_settings(data=f"voc:{voc}", data_options={}, epochs=1), tmp_path / "out", cache=shared)
    before = sorted(shared.iterdir())
    (voc / "JPEGImages" / "train000.jpg").write_bytes(b"nothing")
    refused("run", "serial", "--data", f"voc:{voc}", "--cache", str(shared), "--out", str(tmp_path / "run"))
    assert sorted(shared.iterdir()) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "compare", "run", "study signal"])
def test_a_file_or_a_folder_that_cannot_be_written_is_one_line(voc, tmp_path, command):
    (tmp_path / "file").touch()
    codes = {"train": ["b@8_1-2"], "compare": ["b@8_1-2", "b@8_11-2"]}.get(command, [])
    given = [*command.split(), *codes, "--out", str(tmp_path / "out"), "--data", f"voc:{voc}"]
    text = refused(*given, "--cache", str(tmp_path / "file"))
    assert text == (
        f"error: --cache (or SPNAS_CACHE) is {tmp_path}/file, which is a file: name a folder, or leave it out"
    )
    text = refused(*given, "--cache", "/proc/spnas")
    assert text.startswith("error: cannot write the image cache into /proc/spnas: No such file or directory; choose")
    assert command == "compare" or not (tmp_path / "out").exists()  # which writes its plan first


def test_an_unknown_form_is_one_line(tmp_path):
    text = refused("train", *TINY, "--set", "cache=zip", "--out", str(tmp_path / "out"))
    assert "cache is 'zip'" in text
    assert "'auto', 'images', 'encoded' or 'none'" in text
    assert "cache_limit" in refused("train", *TINY, "--set", "cache_limit=-1", "--out", str(tmp_path / "out"))


def test_a_search_reads_from_the_shared_folder(voc, tmp_path, decoded):
    values = {
        "start": "b@8_1-1-1-1",
        "task": {"name": "detection", "data": f"voc:{voc}", "image_size": [32, 32], "detector": {"neck_channels": 8}},
        "executor": {"name": "inline"},
    }
    for name in ("one", "two"):
        with start_run(tmp_path / name, values, lambda *_: None, cache=tmp_path / "shared") as run:
            assert run.task.fingerprint
        with resume_run(tmp_path / name, lambda *_: None, cache=tmp_path / "shared"):
            assert not run.files.cache.exists()
    assert len(decoded) == 16


class Remembered:
    def __init__(self, settings):
        self.settings = settings

    def recall(self, _):
        return json.dumps(self.settings)


def test_a_search_goes_on_with_its_data_kept_another_way(tmp_path):
    def settings(**task):
        return {"ranking": "lead", "task": {"data": "shapes", "cache": "auto", "cache_limit": 64.0, **task}}

    check_settings(Remembered(settings()), settings(cache="none", cache_limit=1.0), tmp_path)
    with pytest.raises(ConfigError, match=r"has task\.orientation = 'either'"):
        check_settings(Remembered(settings()), settings(orientation="either"), tmp_path)
