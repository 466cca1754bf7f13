"""Checkpoints are written while the training goes on, and the last ones stay."""

import errno
import os
import shutil
import threading

import pytest
import torch
from tiny_training import SHAPES, make_trainer, tiny_settings

from spnas_detect.data import build_cache, open_data
from spnas_detect.jobs import TrainFolder, train
from spnas_detect.training import CheckpointWriter, read_state, snapshot
from spnas_detect.training.checkpoint import FILE, read_checkpoint, write_checkpoint

WRITER = "spnas_detect.training.checkpoint_writing.write_checkpoint"
PATIENCE = 60  # seconds until a test that hangs fails


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = open_data("shapes", seed=0, **SHAPES)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64))


@pytest.fixture
def trainer(cache):
    return make_trainer(cache.split("train"), ema_decay=0.9)


def test_a_snapshot_is_of_its_step_whatever_the_training_does_then(trainer, tmp_path):
    trainer.run(lambda _: None, stop=lambda: trainer.step == 2)
    taken = snapshot(trainer, data="digest", scores=())
    before = {name: tensor.clone() for name, tensor in taken.tensors.items()}
    trainer.run(lambda _: None)
    write_checkpoint(taken, tmp_path)
    state, tensors = read_checkpoint(tmp_path)
    assert (state.step, state.data) == (3, "digest")
    assert tensors.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors.items())
    weight = "model/head.weight"
    assert not torch.equal(tensors[weight], trainer.detector.state_dict()["head.weight"])


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """The first write does not end before the training has made many more steps."""
    later = threading.Event()

    def slow(taken, folder, kept):
        assert later.wait(PATIENCE), "the training waits for the disk"
        write_checkpoint(taken, folder, kept)

    class Follower:
        def message(self, text): ...
        def reading(self, what, done, total): ...
        def close(self): ...
        def step(self, record, speed):
            if record.step == 15:
                later.set()

    monkeypatch.setattr(WRITER, slow)
    result = train(tiny_settings(checkpoint_steps=1), tmp_path / "out", monitor=Follower())
    assert result.step == 18
    assert read_state(TrainFolder(tmp_path / "out").checkpoint).step == 18


def test_one_that_waits_is_replaced_by_a_later_one(trainer, tmp_path, monkeypatch):
    begun, later, written = threading.Event(), threading.Event(), []

    def slow(taken, folder, kept):
        written.append(taken.state.step)
        begun.set()
        assert later.wait(PATIENCE)

    monkeypatch.setattr(WRITER, slow)
    with CheckpointWriter(tmp_path) as writer:
        for step in range(1, 5):
            trainer.step = step
            writer.save(snapshot(trainer))
            assert begun.wait(PATIENCE)
        writer.save(None)
        later.set()
    assert written == [1, 4]


def test_what_writing_meets_is_raised_where_the_training_can_end_by_it(trainer, tmp_path, monkeypatch):
    def full(taken, folder, kept):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/disk/checkpoint")

    monkeypatch.setattr(WRITER, full)
    with pytest.raises(OSError, match="No space left"), CheckpointWriter(tmp_path) as writer:
        writer.save(snapshot(trainer))
    with pytest.raises(OSError, match="No space left"):
        train(tiny_settings(checkpoint_steps=1), tmp_path / "out")
    with pytest.raises(ArithmeticError), CheckpointWriter(tmp_path) as writer:  # noqa: PT012
        writer.save(snapshot(trainer))
        raise ArithmeticError("the first mishap is the one that is told")


def test_the_last_checkpoints_stay(trainer, tmp_path):
    def write(step, kept):
        trainer.step = step
        write_checkpoint(snapshot(trainer), tmp_path, kept)
        assert read_state(tmp_path).step == step
        return sorted(path.name for path in tmp_path.iterdir())

    names = {step: f"step-{step:09}.safetensors" for step in (3, 6, 7, 9, 12)}
    assert write(3, 2) == [FILE, names[3]]
    assert write(6, 2) == [FILE, names[3], names[6]]
    assert write(9, 2) == [FILE, names[6], names[9]]
    newest = (tmp_path / names[9]).read_bytes()
    assert newest == (tmp_path / FILE).read_bytes()
    shutil.copyfile(tmp_path / names[6], tmp_path / FILE)  # as somebody does who goes back
    assert (tmp_path / names[9]).read_bytes() == newest
    assert write(7, 3) == [FILE, names[6], names[7]], "one of a step that the training was taken back from"
    assert write(12, 1) == [FILE]


def test_a_training_keeps_as_many_as_are_asked_for(tmp_path):
    train(tiny_settings(checkpoints_kept=2), tmp_path)
    names = sorted(path.name for path in TrainFolder(tmp_path).checkpoint.iterdir())
    assert names == [FILE, "step-000000015.safetensors", "step-000000018.safetensors"]
    assert not TrainFolder(tmp_path).best.exists()


def test_what_a_resumed_training_does_otherwise_is_what_it_goes_on_with(tmp_path):
    """Else the command that its end prints would remove the checkpoints that this one was told to keep."""
    folder = TrainFolder(tmp_path)
    settings = tiny_settings()
    folder.write_settings(settings)
    changes = {
        "checkpoints_kept": 5,
        "patience": 10,
        "score_every": 1,
        "checkpoint_steps": 20,
        "score_split": "validation",
    }
    folder.keep_changes(settings.model_copy(update={**changes, "epochs": 99}))
    assert folder.read_settings() == settings.model_copy(update=changes)
