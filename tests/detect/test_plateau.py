"""When a training ends early, and which weights were best; the same where it was interrupted."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import SHAPES, tiny_settings

from spnas_core.errors import ConfigError
from spnas_core.tasks import MetricSpec
from spnas_detect.jobs import TrainFolder, train
from spnas_detect.jobs.checks import check_settings
from spnas_detect.training import Scored, load_weights, plateau, read_state, standing

UP, DOWN = MetricSpec("AP"), MetricSpec("LAMR", higher_is_better=False)


def scored(*values):
    return [Scored(epoch, value) for epoch, value in enumerate(values, 1)]


def test_the_example():
    values = scored(0.30, 0.40, 0.41, 0.39)
    assert standing(values, UP) == (Scored(3, 0.41), 1)
    assert standing(values, UP, min_delta=0.02) == (Scored(2, 0.40), 2)
    assert standing(values, DOWN) == (Scored(1, 0.30), 3)
    assert standing(scored(math.nan, 0.1, math.nan), UP) == (Scored(2, 0.1), 1)
    assert standing(scored(math.nan), UP) is None


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.booleans())
def test_without_a_delta_the_best_is_the_first_of_the_extreme_scores(values, is_up):
    found = standing(scored(*values), UP if is_up else DOWN)
    best = max(values) if is_up else min(values)
    assert found.best == Scored(values.index(best) + 1, best)
    assert found.waited == len(values) - values.index(best) - 1


def test_a_training_ends_with_its_reason():
    values = scored(0.30, 0.40, 0.405, 0.39)
    assert plateau(values, UP, patience=2, min_delta=0.0) is None
    assert plateau(values, UP, patience=2, min_delta=0.01) == (
        "validation AP has not improved by more than 0.01 in 2 scores since epoch 2, where it was 0.400"
    )
    assert plateau(values, UP, patience=1, min_delta=0.0).startswith(
        "validation AP has not improved in 1 score since epoch 3"
    )
    assert plateau([], UP, patience=1, min_delta=0.0) is None


class Listener:
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)

    def reading(self, what, done, total): ...
    def step(self, record, speed): ...
    def close(self): ...


SCORES = {1: 0.1, 2: 0.3, 3: 0.2, 4: 0.25, 5: 0.9, 6: 0.95}
"""By epoch: the third and fourth do not improve on the second."""


@pytest.fixture
def told(monkeypatch):
    """Let validation images be scored as in SCORES; the epochs that were."""
    asked = []

    def score(detector, split, metrics, **_):
        if len(split) == 4 and split.names[0].startswith("validation"):
            asked.append(len(asked) + 1)
        return {"AP": SCORES[max(1, len(asked))]}

    monkeypatch.setattr("spnas_detect.jobs.part.score", score)
    return asked


def settings(**changes):
    """Six epochs of two steps, each scored."""
    data = {**SHAPES, "train": 8}
    return tiny_settings(**{"epochs": 6, "score_every": 1, "patience": 2, "data_options": data, **changes})


def test_a_training_on_a_plateau_ends_and_keeps_its_best_weights(tmp_path, told):
    listener = Listener()
    result = train(settings(), tmp_path / "early", monitor=listener)
    assert (result.step, result.steps, told) == (8, 12, [1, 2, 3, 4])
    assert listener.messages[-2] == (
        "ended before epoch 6: validation AP has not improved in 2 scores since epoch 2, where it was 0.300; "
        "best.safetensors has the best weights"
    )
    assert result.scores == {"AP": SCORES[4]}
    state = read_state(TrainFolder(tmp_path / "early").checkpoint)
    assert state.scored == scored(0.1, 0.3, 0.2, 0.25)
    told.clear()
    best = load_weights(TrainFolder(tmp_path / "early").best)
    folder = TrainFolder(tmp_path / "until the second epoch")
    _stopped_after(settings(checkpoint_steps=1), folder, 4)
    averages = load_weights(folder.checkpoint / "checkpoint.safetensors")
    assert all(torch.equal(tensor, averages[f"average/{name}"]) for name, tensor in best.items())


def _stopped_after(settings, folder, step):
    """Train, with a checkpoint after each step, and end it after one."""

    class EnoughError(Exception):
        pass

    class Ending(Listener):
        def step(self, record, speed):
            if record.step == step + 1:
                raise EnoughError

    with pytest.raises(EnoughError):
        train(settings, folder.path, monitor=Ending())
    assert read_state(folder.checkpoint).step == step


@pytest.mark.parametrize("step", [2, 4, 5, 7])
def test_an_interrupted_training_decides_as_an_undisturbed_one(tmp_path, told, step):
    folder = TrainFolder(tmp_path / "out")
    _stopped_after(settings(checkpoint_steps=1), folder, step)
    del told[step // 2 :]
    result = train(settings(checkpoint_steps=1), folder.path, resume=True)
    assert (result.step, told) == (8, [1, 2, 3, 4])
    again = Listener()
    assert train(settings(checkpoint_steps=1), folder.path, resume=True, monitor=again).step == 8
    assert told == [1, 2, 3, 4]
    assert any(message.startswith("ended before epoch 6") for message in again.messages)
    more = train(settings(checkpoint_steps=1).model_copy(update={"patience": 3}), folder.path, resume=True)
    assert more.step == 12


def test_patience_without_scores_is_refused():
    with pytest.raises(
        ConfigError, match=r"^patience is 3 and there are no scores to wait for: set score_every, such as"
    ):
        check_settings(tiny_settings(patience=3))
    check_settings(tiny_settings(patience=3, score_every=1))
