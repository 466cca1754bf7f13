"""Trainings and comparisons that were killed early, or whose files somebody has altered, go on or say how to."""

import json
import re
import shutil

import pytest
import torch
from commands import done, refused
from safetensors import safe_open
from safetensors.torch import save_file

from spnas_detect.jobs.folder import read_scores
from spnas_detect.training.checkpoint import tensors_checksum
from spnas_detect.training.scalars import read_scalars

SHAPES = ("image_size=64", "train=8", "validation=4", "test=4", "max_size=32")
QUICK = ("--image-size", "64x64", "--epochs", "1", *(part for one in SHAPES for part in ("--data-option", one)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    done("train", "b@8_1-2", *QUICK, "--set", "training.ema_decay=0.9", "--out", out)
    return out


@pytest.fixture
def training(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "out")
    return tmp_path / "out"


def state_of(folder):
    with safe_open(folder / "checkpoint" / "checkpoint.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        return tensors, json.loads(file.metadata()["spnas"])


def alter(folder, change, *, is_noticed=False):
    """Change a checkpoint, as somebody does who knows its format, or as a disk does."""
    tensors, state = state_of(folder)
    change(tensors, state)
    if not is_noticed:
        state["checksum"] = tensors_checksum(tensors)
    save_file(tensors, folder / "checkpoint" / "checkpoint.safetensors", {"spnas": json.dumps(state)})
    (folder / "scores.json").unlink()


def test_a_training_that_has_no_checkpoint_yet_begins_anew_and_comes_to_the_same(training, whole):
    for name in ("scores.json", "weights.safetensors"):
        (training / name).unlink()
    shutil.rmtree(training / "checkpoint")
    done("train", "--out", training, "--resume")
    assert read_scores(training) == read_scores(whole)
    assert [line["step"] for line in read_scalars(training)] == [line["step"] for line in read_scalars(whole)]
    (training / "scores.json").unlink()
    (training / "checkpoint" / "checkpoint.safetensors").unlink()  # killed while the first one was written
    done("train", "--out", training, "--resume")
    assert read_scores(training) == read_scores(whole)


@pytest.mark.parametrize("has_checkpoint", [True, False])
def test_another_architecture_is_refused_whether_there_is_a_checkpoint_or_none(training, has_checkpoint):
    if not has_checkpoint:
        shutil.rmtree(training / "checkpoint")
    before = (training / "weights.safetensors").read_bytes()
    said = refused("train", "b@8_2-1", "--out", training, "--resume")
    assert f"the training in {training} has architecture = 'b@8_1-2', not 'b@8_2-1'" in said
    assert (training / "weights.safetensors").read_bytes() == before


def test_settings_that_were_edited_or_cut_are_named(training):
    text = (training / "train.toml").read_text()
    (training / "scores.json").unlink()
    line = next(line for line in text.splitlines() if line.startswith("weight_decay"))
    for changed, key in (
        (text.replace(line, "weight_decay = 0.9"), "weight_decay"),
        (text.replace("ema_decay = 0.9", ""), "ema_decay"),  # the setting's default takes its place
    ):
        assert changed != text
        (training / "train.toml").write_text(changed)
        said = refused("train", "--out", training, "--resume")
        assert re.search(
            rf"train.toml has \S*training.{key} = [\d.]+, and the training was made with [\d.]+: put", said
        )
    (training / "train.toml").write_text(text)
    done("train", "--out", training, "--resume", "--set", "checkpoint_steps=7")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, state: state.update(step="x"),
        lambda tensors, state: state.update(step=-1),
        lambda tensors, state: state.update(step=1.5),
        lambda tensors, state: state.update(step=999),
        lambda tensors, state: state.update(step=None),
        lambda tensors, state: state.update(updates="a"),
        lambda tensors, state: state.update(processes="a"),
        lambda tensors, state: state.update(frozen_norms=5),
        lambda tensors, state: state.update(scores=[[1]]),
        lambda tensors, state: state.update(more=1),
        lambda tensors, state: state.pop("steps"),
        lambda tensors, state: tensors.pop("random/cpu/0"),
        lambda tensors, state: tensors.update({"random/cpu/0": torch.zeros(3, dtype=torch.uint8)}),
        lambda tensors, state: tensors.pop(next(name for name in tensors if name.startswith("average/"))),
        lambda tensors, state: tensors.pop(next(name for name in tensors if "exp_avg/" in name)),
        lambda tensors, state: tensors.update({"optimizer/exp_avg/nothing": torch.zeros(1)}),
        lambda tensors, state: tensors.update(
            {name: torch.zeros(5) for name in tensors if "exp_avg/" in name and tensors[name].ndim > 1}
        ),
        lambda tensors, state: [tensors.pop(name) for name in list(tensors) if name.startswith("optimizer/")],
    ],
)
def test_an_altered_checkpoint_is_one_line_that_says_what_to_do(training, change):
    alter(training, change)
    said = refused("train", "--out", training, "--resume")
    assert f"remove {training / 'checkpoint'}, and the training begins anew" in said
    shutil.rmtree(training / "checkpoint")
    done("train", "--out", training, "--resume")


@pytest.mark.parametrize("prefix", ["model/", "average/", "optimizer/"])
def test_one_altered_value_is_noticed(training, prefix):
    def change(tensors, _):
        name = next(name for name, tensor in tensors.items() if name.startswith(prefix) and tensor.ndim > 1)
        tensors[name].view(-1)[-1] += 1

    alter(training, change, is_noticed=True)
    said = refused("train", "--out", training, "--resume")
    assert f"was altered: remove {training / 'checkpoint'}, and the training begins anew" in said


def test_a_checkpoint_from_before_checksums_goes_on(training):
    alter(training, lambda tensors, state: state.pop("checksum"), is_noticed=True)
    done("train", "--out", training, "--resume")


def test_a_training_whose_norms_see_each_devices_images_goes_on_with_as_many(training):
    alter(training, lambda tensors, state: state.update(processes=2))
    said = refused("train", "--out", training, "--resume")
    assert f"the training in {training} was made on 2 devices, and its batch norms see the images of each alone" in said
    assert "go on with --devices 2, or choose another --out" in said


@pytest.mark.parametrize("name", ["checkpoint", "weights.safetensors", "scores.json"])
def test_a_training_whose_settings_are_gone_is_not_begun_over(training, name):
    text = (training / "train.toml").read_text()
    for file in training.iterdir():
        if file.name != name:
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    said = refused("train", "b@8_1-2", *QUICK, "--out", training)
    assert f"holds {name}" in said
    assert "of a training whose train.toml is gone: put that back and go on with --resume" in said
    (training / "train.toml").write_text(text)
    done("train", "--out", training, "--resume")


def test_a_checkpoint_of_another_network_is_refused(training):
    name = next(name for name in state_of(training)[0] if name.startswith("model/backbone."))
    alter(training, lambda tensors, state: tensors.pop(name))
    said = refused("train", "--out", training, "--resume")
    assert f"another architecture or detector: 1 tensors differ, first {name.removeprefix('model/')} (missing" in said


@pytest.mark.parametrize("field", ["frozen_norms", "frozen_parameters"])
def test_a_checkpoint_that_freezes_what_there_is_not_is_refused(training, field):
    alter(training, lambda tensors, state: state.update({field: ["nope"]}))
    assert "'nope' is said to be frozen" in refused("train", "--out", training, "--resume")


@pytest.mark.parametrize("content", [b"", b"nothing", b"\0" * 999])
def test_a_damaged_checkpoint_names_the_one_before(training, content):
    last = training / "checkpoint" / "checkpoint.safetensors"
    kept = training / "checkpoint" / "step-000000001.safetensors"
    shutil.copy(last, kept)
    last.write_bytes(content)
    assert f"put {kept.name}, or an earlier one, in its place" in refused("train", "--out", training, "--resume")
    shutil.copy(kept, last)
    done("train", "--out", training, "--resume")


@pytest.mark.parametrize("line", ['{"step": "x"}', "[" * 100_000, '{"step": ' + "9" * 400 + "}", "\udcff\udcfe", "7"])
def test_altered_scalars_end_nothing(training, line):
    with (training / "scalars.jsonl").open("ab") as file:
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")
    (training / "scores.json").unlink()
    done("train", "--out", training, "--resume")
    done("report", training)


def test_other_packages_are_named_when_a_training_goes_on(training):
    alter(training, lambda _, state: state["versions"].update(torch="0.1", gone="1.0"))
    said = " ".join(done("train", "--out", training, "--resume").split())
    assert "the packages are not those of before: gone 1.0 then, not installed now; torch 0.1 then" in said
    alter(training, lambda _, state: state.pop("versions"))  # as earlier trainings have none
    assert "the packages are" not in done("train", "--out", training, "--resume")


@pytest.fixture
def compared(tmp_path):
    out = tmp_path / "compared"
    done("compare", "b@8_1-2", "b@8_2-1", *QUICK, "--seeds", "1", "--latency", "cpu", "--out", out)
    return out


def test_a_comparison_by_other_packages_is_refused_until_they_are_accepted(compared):
    command = ("compare", "b@8_1-2", "b@8_2-1", *QUICK, "--seeds", "1", "--out", compared)
    plan = json.loads((compared / "plan.json").read_text())
    (compared / "plan.json").write_text(json.dumps({**plan, "versions": {**plan["versions"], "torch": "0.1"}}))
    done(*command)  # all are made: they are shown
    (compared / "2-0" / "scores.json").unlink()
    assert "(torch 0.1 then, " in refused(*command)
    done(*command, "--accept-versions")


def test_comparisons_go_on_whatever_was_lost_of_a_training(compared):
    command = ("compare", "b@8_1-2", "b@8_2-1", *QUICK, "--seeds", "1", "--out", compared)
    before = json.loads((compared / "compare.json").read_text())
    assert before["latency_device"] == "cpu"
    for name in ("scores.json", "checkpoint/checkpoint.safetensors"):
        (compared / "2-0" / name).unlink()
    done(*command)
    assert json.loads((compared / "compare.json").read_text()) == before, "what was measured stays, too"
    for name in ("scores.json", "train.toml"):
        (compared / "2-0" / name).unlink()
    done(*command)
    assert json.loads((compared / "compare.json").read_text()) == before, "lost settings are those of the comparison"
    for text in ("", "null", '{"scores": []}', '{"scores": {"AP": "x"}, "split": "test"}', '{"split": "test"}'):
        (compared / "2-0" / "scores.json").write_text(text)
        assert f"remove {compared / '2-0' / 'scores.json'}, and go on" in refused(*command)
    (compared / "2-0" / "scores.json").unlink()
    done(*command)
    assert json.loads((compared / "compare.json").read_text()) == before
    values = json.loads((compared / "compare.json").read_text())
    del values["split"]
    (compared / "compare.json").write_text(json.dumps(values))
    assert "The comparison is over" in done("report", compared)


def test_other_architectures_are_another_comparison(compared):
    said = refused("compare", "b@8_1-2", "b@8_2-1", "b@8_1-1", *QUICK, "--seeds", "1", "--out", compared)
    assert "is of b@8_1-2, b@8_2-1, not of b@8_1-2, b@8_2-1, b@8_1-1" in said


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "EOFError"),
        ({3: torch.zeros(2)}, "has 3, which is no dense tensor"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "has 'a', which is no dense tensor"),
        ([1], "holds no state_dict"),
    ],
)
@pytest.mark.parametrize("kind", ["torchvision", "torchvision-backbone"])
def test_odd_weights_of_other_libraries_are_one_line(tmp_path, content, told, kind):
    file = tmp_path / "odd.pth"
    file.write_bytes(b"") if content is None else torch.save(content, file)
    said = refused("train", "b_11-21-21-21", *QUICK, "--init", f"{kind}:{file}", "--out", tmp_path / "out")
    assert told in said
    assert not (tmp_path / "out").exists()
