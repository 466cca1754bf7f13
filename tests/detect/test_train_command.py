import json
import signal
import subprocess
import sys

import pytest
import torch
import torchvision
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from threads import THREADS
from tiny_training import tiny_settings

from spnas_core.hookspecs import hookimpl
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import ResolvedCandidate
from spnas_detect.commands.scores import MOST_METRICS, score_rows
from spnas_detect.detectors import read_description
from spnas_detect.detectors.faster_rcnn import FasterRCNN
from spnas_detect.training import Trainer
from spnas_detect.training.scalars import read_scalars
from spnas_search.cli.main import commands

SETTINGS = [
    *("--image-size", "64x64"),
    *("--set", "data_options={image_size=64, train=10, validation=4, test=4, max_size=32, min_size=12}"),
    *("--set", "training.batch_size=4"),
    *("--set", "log_steps=1"),
    *("--epochs", "1"),
]


def invoke(*arguments):
    return CliRunner().invoke(commands, ["train", *map(str, arguments)])


def refused(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert len(errors) == 1, result.output
    return errors[0]


def test_a_training_leaves_all_that_comes_after_it(tmp_path):
    out = tmp_path / "out"
    result = invoke("b@8_1-2", *SETTINGS, "--seed", 3, "--set", "training.norm=group", "--out", out)
    assert result.exit_code == 0, result.output
    description = read_description(out / "weights.safetensors")
    assert description.architecture == "b@8_1-2"
    assert description.classes == ("square", "disc", "triangle", "ring")
    assert description.image_size == (64, 64)
    assert description.norm == "group"
    assert not any(name.endswith("running_mean") for name in load_file(out / "weights.safetensors"))
    scores = json.loads((out / "scores.json").read_text())
    assert scores["split"] == "test"
    assert {"AP", "AP50", "AP50/disc"} <= scores["scores"].keys()
    assert [row["step"] for row in read_scalars(out)] == [1, 2]
    for text in ("all classes", "triangle", f"spnas predict {out}/weights.safetensors IMAGE…"):
        assert text in result.output.replace("\n", "")
    assert {path.name for path in out.iterdir()} == {
        *("cache", "checkpoint", "scalars.jsonl", "scores.json", "tensorboard", "train.toml", "weights.safetensors")
    }
    again = tmp_path / "again"
    assert invoke("--config", out / "train.toml", "--out", again).exit_code == 0
    assert (again / "weights.safetensors").read_bytes() == (out / "weights.safetensors").read_bytes()
    assert (again / "train.toml").read_bytes() == (out / "train.toml").read_bytes()


def test_the_averaged_weights_are_the_ones_that_are_saved(tmp_path):
    result = invoke("b@8_1-2", *SETTINGS, "--set", "training.ema_decay=0.9", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    stored = load_file(tmp_path / "checkpoint" / "checkpoint.safetensors")
    for name, tensor in load_file(tmp_path / "weights.safetensors").items():
        assert torch.equal(tensor, stored[f"average/{name}"])
    assert not torch.equal(stored["average/neck.layer_blocks.0.0.weight"], stored["model/neck.layer_blocks.0.0.weight"])


def test_training_takes_the_canvases_that_it_is_told_to(tmp_path, monkeypatch):
    seen, losses = [], FasterRCNN.losses

    def watched(self, images, *arguments, **options):
        seen.append(tuple(images.shape[-2:]))
        return losses(self, images, *arguments, **options)

    monkeypatch.setattr(FasterRCNN, "losses", watched)
    sizes = ("--set", "training.image_sizes=[[64, 64], [32, 64]]", "--set", "training.prefetch=1", "--epochs", "6")
    assert invoke("b@8_1-2", *SETTINGS, *sizes, "--out", tmp_path / "out").exit_code == 0
    assert set(seen) == {(64, 64), (64, 32)}


def test_validation_scores_are_logged_every_few_epochs(tmp_path):
    options = [*SETTINGS, "--epochs", "4", "--score-every", "2", "--metric", "voc", "--validation"]
    result = invoke("b@8_1-2", *options, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert [row["step"] for row in read_scalars(tmp_path) if "validation/VOC50" in row] == [4, 8]
    assert "epoch 2: validation VOC50 0." in result.output
    assert json.loads((tmp_path / "scores.json").read_text())["split"] == "validation"


class FakeRun:
    """A plugin that knows the candidate 7 of one run."""

    def __init__(self, weights, **settings):
        self.candidate = ResolvedCandidate("b@8_1-2", weights, settings)

    @hookimpl(tryfirst=True)
    def spnas_resolve_candidate(self, reference):
        return self.candidate if reference == "runs/fake:7" else None


@pytest.fixture
def fake_run():
    plugins = []

    def register(weights, **settings):
        plugins.append(FakeRun(weights, **settings))
        plugin_manager().register(plugins[-1])

    yield register
    for plugin in plugins:
        plugin_manager().unregister(plugin)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    assert invoke("b@8_1-2", *SETTINGS, "--out", out).exit_code == 0
    return out / "weights.safetensors"


def test_a_candidate_brings_its_task_settings_and_weights(tmp_path, fake_run, trained):
    task = tiny_settings(detector={"neck_channels": 16}).as_dict()
    fake_run(
        trained, name="detection", **{key: task[key] for key in ("data_options", "image_size", "detector", "data")}
    )
    result = invoke("runs/fake:7", "--epochs", 1, "--out", tmp_path / "heir", "--set", "training.learning_rate=1e-9",
                    "--set", "training.finetune_learning_rate=1e-9", "--set", "training.weight_decay=0")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "% inherited" in result.output
    parent, child = load_file(trained), load_file(tmp_path / "heir" / "weights.safetensors")
    assert child["neck.layer_blocks.0.0.weight"].shape == (16, 16, 3, 3)
    torch.testing.assert_close(child["backbone.stem.conv1.weight"], parent["backbone.stem.conv1.weight"])
    fresh = invoke("runs/fake:7", "--epochs", 1, "--fresh", "--out", tmp_path / "fresh")
    assert fresh.exit_code == 0, fresh.output
    assert "inherited" not in fresh.output
    assert "init" not in (tmp_path / "fresh" / "train.toml").read_text()


def test_a_candidate_without_weights_or_of_another_task_is_refused(tmp_path, fake_run):
    fake_run(None)
    assert "the weights of runs/fake:7 were not kept: train it with --fresh" in refused(
        "runs/fake:7", "--out", tmp_path
    )
    fake_run(None, name="null")
    assert "is of a search with the task 'null'" in refused("runs/fake:7", "--out", tmp_path)


def test_a_training_starts_from_torchvisions_weights_and_from_its_own(tmp_path, trained):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    slow = ["--set", "training.finetune_learning_rate=1e-9", "--set", "training.weight_decay=0"]
    out = tmp_path / "theirs"
    init = f"torchvision:{tmp_path / 'resnet18.pth'}"
    result = invoke("b_11-21-21-21", *SETTINGS, *slow, "--norm", "frozen", "--init", init, "--out", out)
    assert result.exit_code == 0, result.output
    weights = load_file(out / "weights.safetensors")
    torch.testing.assert_close(weights["backbone.stem.conv1.weight"], state["conv1.weight"], atol=1e-5, rtol=1e-5)
    assert torch.equal(weights["backbone.blocks.0.bn1.running_var"], state["layer1.0.bn1.running_var"])
    near = invoke("b@8_11-2", *SETTINGS, *slow, "--init", trained, "--out", tmp_path / "near")
    assert near.exit_code == 0, near.output
    assert "align: 2 of 3 residual branches are those of b@8_1-2" in near.output.replace("\n", " ")
    ours, theirs = load_file(tmp_path / "near" / "weights.safetensors"), load_file(trained)
    for child, parent in (("0", "0"), ("2", "1")):
        name = "backbone.blocks.{}.conv1.weight"
        torch.testing.assert_close(ours[name.format(child)], theirs[name.format(parent)], atol=1e-5, rtol=1e-5)
    message = refused("r@8_1-2", *SETTINGS, "--init", trained, "--out", tmp_path / "other")
    assert "the weights to start from are of b@8_1-2: r@8_1-2 cannot inherit from b@8_1-2: their block types" in message
    save_file({"stem.conv1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "few.safetensors")
    assert "tensors differ" in refused("b@8_1-2", *SETTINGS, "--init", tmp_path / "few.safetensors", "--out", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["b_11--21"], "stage 2 of '11--21' is empty"),
        (["b_11-21_1"], "the parallel code '1' has 1 entries for 2 stages"),
        (["runs/nothing:3"], "'runs/nothing:3' is neither the folder of a run, as RUN or RUN:ID, nor"),
        ([], "what shall be trained? give an architecture CODE, or RUN[:ID]"),
        (["b@8_1-2", "--fresh", "--init", "x.safetensors"], "--fresh and --init contradict each other"),
        (["b@8_1-2", "--init", "x.pt"], "must be torchvision:FILE, torchvision-backbone:FILE or FILE.safetensors"),
        (["b@8_1-2", "--init", "none.safetensors"], "weights file none.safetensors does not exist"),
        (["b@8_1-2", "--detector", "faster-rnn"], "did you mean 'faster-rcnn'?"),
        (["b@8_1-2", "--neck", "fnp"], "did you mean 'fpn'?"),
        (["b@8_1-2", "--metric", "cocoa"], "did you mean 'coco'?"),
        (["b@8_1-2", "--data", "shaps"], "did you mean 'shapes'?"),
        (["b@8_1-2", "--image-size", "big"], "WIDTHxHEIGHT"),
        (["b@8_1-2", "--set", "training.batchsize=3"], "no setting 'training.batchsize'; did you mean 'batch_size'?"),
        (["b@8_1-2", "--set", "training.accumulate=3"], "must be a multiple of training.accumulate 3 times 1 device"),
        (["b@8_1-2", "--set", "epochs=0"], "epochs is 0: input should be greater than or equal to 1"),
        (
            ["b@8_1-2", "--epochs", "8", "--set", "training.schedule=step", "--set", "training.drops=[-8, -2]"],
            "training.drops begins at -8, in epochs before the end, and epochs is 8: train for more",
        ),
        (["b@8_1-2", "--set", "device=nowhere"], "device 'nowhere' cannot be used"),
        (["b@8_1-2", "--devices", "3"], "batch_size 4 cannot be shared out evenly"),
        (["b@8_1-2", "--config", "none.toml"], "cannot read the configuration none.toml"),
        (["b@8_1-2", "--resume"], "--out"),
    ],
)
def test_a_wrong_argument_names_value_and_what_is_allowed(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    out = [] if "--resume" in arguments else ["--out", tmp_path / "out"]
    assert message in refused(*SETTINGS, *arguments, *out)
    assert not list((tmp_path / "out").rglob("*"))  # not even images were read


def test_a_diverging_training_says_step_images_and_losses(tmp_path):
    wild = ["--set", "training.learning_rate=1e30", "--set", "training.clip_norm=0", "--set", "training.warmup_steps=0"]
    message = refused("b@8_1-2", *SETTINGS, *wild, "--epochs", 4, "--out", tmp_path)
    assert "the loss is not finite at step 2 of 8: " in message
    assert "; images " in message
    assert "; last finite losses, at step 1: " in message


def test_a_batch_that_does_not_fit_names_the_flags(tmp_path, monkeypatch):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr(Trainer, "_gradients", too_large)
    message = refused("b@8_1-2", *SETTINGS, "--out", tmp_path)
    assert "4 images of 64x64 at a time do not fit in the memory of cpu: 9.00 GiB more were asked for" in message
    assert "--image-size" in message


MAIN = "import os, signal, sys; from spnas_search.cli import main; sys.argv[0] = 'spnas'; main()"


def test_a_stopped_training_says_how_to_go_on_and_does(tmp_path, trained):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    options = [*SETTINGS, "--epochs", "3", "--init", trained]
    assert invoke("b@8_1-2", *options, "--out", whole).exit_code == 0
    # The signal comes from within, so that the moment is certain.
    killing = MAIN.replace(
        "sys.argv[0]",
        f"from spnas_detect.jobs import part; import torch; torch.set_num_threads({THREADS}); "
        "step = part.Speedometer.measure; part.Speedometer.measure = lambda self, record: "
        "(record.step == 3 and os.kill(os.getpid(), signal.SIGTERM), step(self, record))[1]; sys.argv[0]",
    )
    command = [sys.executable, "-W", "error", "-c", killing, "train", "b@8_1-2", *map(str, options), "--out", stopped]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 128 + signal.SIGTERM, result.stderr
    assert f"Stopped after step 4 of 6. Go on with: spnas train --out {stopped} --resume" in result.stdout
    assert not (stopped / "weights.safetensors").exists()
    trained.rename(trained.with_name("gone"))  # what a training has inherited, it has
    try:
        again = invoke("--out", stopped, "--resume")
    finally:
        trained.with_name("gone").rename(trained)
    assert again.exit_code == 0, again.output
    assert "going on after step 4 of 6" in again.output
    assert (stopped / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_scoring_says_how_to_go_on(tmp_path, number):
    killing = MAIN.replace(
        "sys.argv[0]",
        f"from spnas_detect.jobs import part; import torch; torch.set_num_threads({THREADS}); "
        f"part.Part._score = lambda *_: os.kill(os.getpid(), {int(number)}); sys.argv[0]",
    )
    command = [sys.executable, "-W", "error", "-c", killing, "train", "b@8_1-2", *map(str, SETTINGS), "--out", tmp_path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 128 + number, result.stderr
    assert f"Stopped. Go on with: spnas train --out {tmp_path} --resume" in result.stdout
    assert result.stderr == ""
    assert invoke("--out", tmp_path, "--resume").exit_code == 0


def test_help_has_an_example():
    assert "Example: spnas train" in invoke("--help").output


@pytest.mark.slow
def test_two_devices_train_one_detector(tmp_path):
    command = [sys.executable, "-W", "error", "-c", MAIN, "train", "b@8_1-2", *SETTINGS, "--out", tmp_path]
    result = subprocess.run(
        [*map(str, command), "--devices", "2"], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert [row["step"] for row in read_scalars(tmp_path)] == [1, 2]
    assert result.stdout.count("scoring on 4 test images") == 1
    assert "all classes" in result.stdout
    assert result.stderr == ""


def test_metrics_that_no_class_has_stand_in_a_table_of_their_own_where_there_are_many():
    scores = {"AP": 0.5, "AP75": 0.25, "AP/dog": 0.5}
    (alone,) = score_rows(scores)
    assert alone[1] == [("all classes", "0.500", "0.250"), ("dog", "0.500", "")]
    many = {**scores, **{f"AR{number}": number / 10 for number in range(MOST_METRICS)}}
    (columns, rows), (others, row) = score_rows(many)
    assert [column.heading for column in columns] == ["class", "AP"]
    assert rows == [("all classes", "0.500"), ("dog", "0.500")]
    assert [column.heading for column in others] == ["", "AP75", *(f"AR{number}" for number in range(MOST_METRICS))]
    assert row[0][:3] == ("all classes", "0.250", "0.000")
