"""Options of ``spnas train`` and ``spnas compare`` mean what was typed, and folders that cannot be are one line."""

import errno
import json
import os
import subprocess

import pytest
import torch
from click.testing import CliRunner
from mounts import can_mount, mounted
from voc_folder import write_voc

from spnas_core.configuration import read_toml
from spnas_core.errors import ConfigError, MachineError
from spnas_detect.commands.assembling import train_settings
from spnas_detect.folders import make_folder, new_folder
from spnas_detect.processes.launcher import attempt
from spnas_detect.training.weights import write_tensors
from spnas_search.cli.main import commands

SHAPES = ("image_size=64", "train=8", "validation=4", "test=4", "max_size=32")
QUICK = ("--image-size", "64x64", "--epochs", "1", *(part for one in SHAPES for part in ("--data-option", one)))
ODD = [
    "it's",
    'say "hi"',
    "back\\slash",
    "no\u00a0break",
    "\u00a0both ends\u00a0",
    "'''",
    "a\nb",
    "1",
    "true",
    "[]",
    "é",
]


def given(**changes):
    options = dict.fromkeys(
        [
            "data",
            "epochs",
            "image_size",
            "init",
            "seed",
            "devices",
            "score_every",
            "split",
            "config",
            "detector",
            "neck",
            "preset",
        ]
    )
    lists = {"metrics": (), "assignments": (), "data_options": ()}
    return {**options, **lists, "norm": None, "fresh": False, **changes}


def invoke(*arguments):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.mark.parametrize("text", ODD)
def test_options_arrive_as_they_were_typed(text):
    settings = train_settings("b@8_1-2", given(data=f"voc:{text}", detector=text, neck=text), None)
    assert settings.data == f"voc:{text}"
    assert (settings.detector.detector, settings.detector.neck) == (text, text)


def test_options_of_the_data_are_read_as_toml_or_text():
    options = ('classes=["a", "b"]', "years=07+12", "difficult = train", "validation='val'")
    settings = train_settings("b@8_1-2", given(data="voc:x", data_options=options), None)
    assert settings.data_options == {
        "classes": ["a", "b"],
        "years": "07+12",
        "difficult": "train",
        "validation": "val",
    }


def test_options_of_the_data_are_put_over_those_that_are_there():
    settings = train_settings("b@8_1-2", given(data_options=("train=3",), assignments=("data_options.test=5",)), None)
    assert settings.data_options == {"train": 3, "test": 5}


def test_both_commands_have_them(tmp_path):
    result = invoke("train", "b@8_1-2", *QUICK, "--out", tmp_path / "train")
    assert result.exit_code == 0, result.output
    assert read_toml(tmp_path / "train" / "train.toml")["data_options"]["train"] == 8
    result = invoke("compare", "b@8_1-2", "b@8_11-2", *QUICK, "--seeds", "1", "--out", tmp_path / "compare")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "compare" / "plan.json").read_text())["1.data_options"]["test"] == 4
    for command in (["train", "b@8_1-2"], ["compare", "b@8_1-2", "b@8_11-2"]):
        refused = invoke(*command, "--data-option", "train", "--out", tmp_path / "x")
        assert refused.exit_code == 2
        assert "--data-option 'train' must look like key=value, for example test=val.json" in refused.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "metrics=[]"), "metrics is []"),
        (("--set", "training.image_sizes=[[1,64]]"), "training.image_sizes"),
        (("--set", "detector.anchor_scales=[1e300]"), "detector.anchor_scales"),
        (("--set", "device=meta"), "device 'meta' cannot be used"),
        (("--data", "folder:caf\udce9"), r"data is 'folder:caf\udce9': it must be text that UTF-8 can hold"),
        (("--out", "caf\udce9"), r"caf\udce9' is no name that UTF-8 can hold"),
        (
            ("--set", "training.batch_size=1", "--image-size", "32x32"),
            "1 image(s) of 32x32 at a time leave a batch norm one value per channel",
        ),
    ],
)
def test_what_would_fail_later_is_refused_in_one_line(tmp_path, options, message):
    refused = invoke("train", "b@8_1-2-1-1", *QUICK, "--out", tmp_path / "out", *options)
    assert refused.exit_code == 2
    assert message in refused.output
    assert "Traceback" not in refused.output


@pytest.mark.parametrize(
    "option",
    ["detector.anchor_sizes=[[1,8]]", "detector.anchor_scales=[0.2,2.0]", "training.share=0.25"],
)
def test_small_anchors_and_shares_train(tmp_path, option):
    result = invoke("train", "b@8_1-2", *QUICK, "--set", option, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "out"
    assert invoke("train", "b@8_1-2", *QUICK, "--out", out).exit_code == 0
    return out / "weights.safetensors"


def writers(trained, photo):
    data = [part for one in SHAPES for part in ("--data-option", one)]
    return {
        "train": ("train", "b@8_1-2", *QUICK),
        "compare": ("compare", "b@8_1-2", "b@8_11-2", *QUICK),
        "predict": ("predict", trained, photo),
        "evaluate": ("evaluate", trained, "--data", "shapes", *data),
    }


@pytest.fixture
def photo(tmp_path):
    return write_voc(tmp_path / "voc", images=2) / "JPEGImages" / "train000.jpg"


@pytest.mark.parametrize("command", ["train", "compare", "predict", "evaluate"])
@pytest.mark.parametrize("place", ["file/out", "file", "x" * 300, "/proc/out"])
def test_an_impossible_out_is_one_line(tmp_path, trained, photo, command, place):
    (tmp_path / "file").touch()
    result = invoke(*writers(trained, photo)[command], "--out", tmp_path / place)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = [line for line in result.output.splitlines() if line.lower().startswith("error")]
    assert "choose another --out" in line
    assert str(tmp_path / place) in line


@pytest.mark.parametrize("command", ["train", "compare", "predict", "evaluate"])
def test_a_read_only_out_is_one_line_and_nothing_is_computed(tmp_path, trained, photo, command, monkeypatch):
    if not can_mount(tmp_path / "probe"):
        pytest.skip("no file system can be mounted here")
    monkeypatch.setattr("spnas_detect.inference.evaluation.score", None)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs"):
        for place in (tmp_path / "disk", tmp_path / "disk" / "out"):
            result = invoke(*writers(trained, photo)[command], "--out", place)
            assert result.exit_code == 2, result.output
            assert f"cannot write into {place}: Read-only file system; choose another --out" in result.output


def test_a_training_goes_on_only_where_it_can_write(tmp_path, trained):
    if not can_mount(tmp_path / "probe"):
        pytest.skip("no file system can be mounted here")
    disk = tmp_path / "disk"
    with mounted(disk, "--bind", str(trained.parent)):
        subprocess.run(["mount", "-o", "remount,ro,bind", disk], check=True)
        result = invoke("train", "--out", disk, "--resume")
        assert result.exit_code == 2, result.output
        assert "Read-only file system; choose another --out" in result.output


def test_a_new_folder_goes_where_nothing_came_of_it(tmp_path):
    for content in ((), ("kept",)):
        folder = tmp_path / "new"
        with pytest.raises(RuntimeError), new_folder(folder):  # noqa: PT012
            for name in content:
                (folder / name).touch()
            raise RuntimeError
        assert folder.exists() == bool(content)


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path):
        raise RuntimeError
    make_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write into .*file/x: Not a directory; choose another --out"):
        make_folder(tmp_path / "file" / "x")


def test_a_refused_training_leaves_no_folder(tmp_path):
    result = invoke("train", "b@8_1-2", "--data", "voc:nowhere", "--image-size", "64x64", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_an_error_of_the_system_whoever_writes(tmp_path):
    if not can_mount(tmp_path / "probe"):
        pytest.skip("no file system can be mounted here")
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs"):
        file = tmp_path / "disk" / "w.safetensors"
        with pytest.raises(OSError, match="No space left on device") as caught:
            write_tensors({"a": torch.zeros(1_000_000)}, file, {})
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))


def test_a_process_that_cannot_write_ends_in_one_line():
    def fail():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/checkpoint")

    outcome = attempt(fail, ())
    assert (outcome.ending, outcome.error) == ("refused", MachineError.__name__)
    assert outcome.text == "/disk/checkpoint: No space left on device; mend that, and go on with --resume"
