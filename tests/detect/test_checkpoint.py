import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_training
import torch
from tiny_training import SHAPES, make_trainer, tiny_settings

from spnas_core.errors import ConfigError, WeightsError
from spnas_detect.data import build_cache, open_data
from spnas_detect.jobs import train
from spnas_detect.training import load_checkpoint, load_weights, save_checkpoint
from spnas_detect.training.checkpoint import FILE, read_checkpoint
from spnas_detect.training.scalars import read_scalars


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data = open_data("shapes", seed=0, **SHAPES)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64)).split("train")


def everything(trainer):
    tensors = dict(trainer.detector.state_dict())
    if trainer.average is not None:
        tensors |= {f"average {name}": tensor for name, tensor in trainer.average.tensors().items()}
    for index, parameter in enumerate(trainer.detector.parameters()):
        state = trainer.optimizer.state[parameter]
        tensors |= {f"{key} {index}": value for key, value in state.items() if value is not None}
    return tensors


KINDS = [
    {"optimizer": "adamw", "ema_decay": 0.9},
    {"optimizer": "sgd", "draws_globally": True},
    {"optimizer": "adamw", "accumulate": 2, "norm": "group"},
]


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_training_cut_at_any_step_ends_with_the_same_bits(split, tmp_path, settings, channels_last):
    def make():
        trainer = make_trainer(split, **settings)
        if channels_last:
            trainer.detector.to(memory_format=torch.channels_last)
        return trainer

    whole = make()
    seen = []
    whole.run(seen.append)
    assert (whole.step, whole.steps_per_epoch) == (18, 6)
    for cut in (1, 5, 6, 11, 17):
        first = make()
        first.run(lambda _: None, stop=lambda trainer=first, cut=cut: trainer.step + 1 == cut)
        assert first.step == cut
        assert first.was_stopped
        save_checkpoint(first, tmp_path)
        second = make()
        torch.manual_seed(99)
        load_checkpoint(second, tmp_path)
        records = []
        second.run(records.append)
        assert [record.losses for record in records] == [record.losses for record in seen[cut:]]
        expected, found = everything(whole), everything(second)
        assert expected.keys() == found.keys()
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), name


def test_a_checkpoint_of_another_network_names_the_first_five_differing_tensors(split, tmp_path):
    trainer = make_trainer(split)
    save_checkpoint(trainer, tmp_path)
    other = make_trainer(split)
    other.detector.head = torch.nn.Conv2d(5, 2, 3)
    with pytest.raises(WeightsError, match=r"2 tensors differ, first head.weight \(\(1, 4, 3, 3\) instead of \(2, 5"):
        load_checkpoint(other, tmp_path)
    other.detector.extra = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(4)))
    with pytest.raises(WeightsError, match="10 tensors differ") as caught:
        load_checkpoint(other, tmp_path)
    assert str(caught.value).count("instead of") == 5
    with pytest.raises(WeightsError, match="optimizer adamw instead of sgd"):
        load_checkpoint(make_trainer(split, optimizer="sgd"), tmp_path)
    with pytest.raises(WeightsError, match="averaged weights False instead of True"):
        load_checkpoint(make_trainer(split, ema_decay=0.9), tmp_path)
    with pytest.raises(WeightsError, match="steps 18 instead of 24"):
        load_checkpoint(make_trainer(split, epochs=4), tmp_path)


def test_a_checkpoint_is_complete_or_refused(split, tmp_path):
    with pytest.raises(WeightsError, match="there is no checkpoint in"):
        read_checkpoint(tmp_path)
    save_checkpoint(make_trainer(split), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    content = (tmp_path / FILE).read_bytes()
    for damaged in (content[:-4], content[:5], b""):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(WeightsError, match="is no complete checkpoint"):
            read_checkpoint(tmp_path)
    (tmp_path / FILE).write_bytes(content.replace(b'version\\": 1', b'version\\": 9'))
    with pytest.raises(WeightsError, match="has version 9, this spnas reads 1"):
        read_checkpoint(tmp_path)


SUPPORT = Path(tiny_training.__file__).parent

TRAIN = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from threads import THREADS
torch.set_num_threads(THREADS)
from pathlib import Path
from spnas_detect.jobs import train
from tiny_training import tiny_settings
train(tiny_settings(), Path(sys.argv[1]), cache=Path(sys.argv[3]))
"""


def test_a_training_killed_at_a_random_step_resumes_to_the_undisturbed_weights(tmp_path):
    undisturbed, killed, cache = (tmp_path / name for name in ("undisturbed", "killed", "cache"))
    train(tiny_settings(), undisturbed, cache=cache)
    steps = random.Random(0).randint(4, 14)
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(killed), str(SUPPORT), str(cache)])
    try:
        while len(read_scalars(killed)) < steps:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    result = train(tiny_settings(), killed, resume=True, cache=cache)
    assert result.step == result.steps == 18
    expected = load_weights(undisturbed / "weights.safetensors")
    found = load_weights(killed / "weights.safetensors")
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), f"{name} differs after a kill at step {steps}"
    untimed = [
        [{key: row[key] for key in row if key not in {"memory", "images_per_second"}} for row in read_scalars(folder)]
        for folder in (undisturbed, killed)
    ]
    assert untimed[0] == untimed[1]
    assert [row["step"] for row in untimed[0]] == list(range(1, 19))
    assert repr(train(tiny_settings(), undisturbed, resume=True, cache=cache).scores) == repr(result.scores)
    assert any(math.isfinite(score) for score in result.scores.values())


def test_a_folder_that_holds_a_training_is_not_overwritten_and_only_that_training_resumed(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match="holds no training"):
        train(tiny_settings(), out, resume=True)
    train(tiny_settings(epochs=1), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="holds a training already: go on with --resume"):
        train(tiny_settings(epochs=1), out)
    with pytest.raises(ConfigError, match="has epochs = 1, not 2: leave it out"):
        train(tiny_settings(epochs=2), out, resume=True)
    with pytest.raises(ConfigError, match=r"has training.batch_size = 4, not 2"):
        train(tiny_settings(epochs=1, training={"batch_size": 2, "ema_decay": 0.9}), out, resume=True)
    with pytest.raises(ConfigError, match="has architecture = 'b@8_1-2', not 'b@8_11-2': leave it out"):
        train(tiny_settings(epochs=1, architecture="b@8_11-2"), out, resume=True)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_training_that_cannot_start_leaves_no_training_behind(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        train(tiny_settings(init="none.safetensors"), tmp_path)
    assert not (tmp_path / "train.toml").exists()
