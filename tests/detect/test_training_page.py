"""docs/training.md names settings that there are, with values that they take, and the defaults of the code."""

import re
import tomllib
from pathlib import Path

import pytest

from spnas_core.configuration import validate
from spnas_detect.data.transforms import MIN_VISIBLE
from spnas_detect.detectors import DetectorSettings
from spnas_detect.jobs import TrainSettings
from spnas_detect.preparation import RARE
from spnas_detect.training import TrainingSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
MODELS = {
    "Which images": TrainingSettings,
    "Scale": TrainingSettings,
    "When the learning rate falls": TrainingSettings,
    "Losses of boxes": DetectorSettings,
    "Checkpoints": TrainSettings,
}
ROWS = [
    (section.splitlines()[0], line.split("|")[1])
    for section in PAGE.split("\n## ")[1:]
    for line in section.splitlines()
    if line.startswith("| `")
]


def values(cell):
    """The settings of a cell, such as `a = 1`, `b`; what has no key is another value of the one before."""
    name = ""
    for text in re.findall(r"`([^`]+)`", cell):
        key, equals, value = text.partition(" = ")
        if not key.startswith('"'):
            name = key
        yield name, tomllib.loads(f"x = {value if equals else key}")["x"] if equals or key.startswith('"') else None


@pytest.mark.parametrize(("section", "cell"), ROWS)
def test_a_setting_of_the_page_takes_the_value_that_is_shown(section, cell):
    (model,) = [model for title, model in MODELS.items() if section.startswith(title)]
    for name, value in values(cell):
        assert name in model.model_fields
        if value is not None:
            needed = {"architecture": "b@8_1-2"} if model is TrainSettings else {}
            needed |= {"scale_range": [0.1, 2.0]} if name == "scale_onto" else {}
            validate(model, {**needed, name: value})


def test_the_page_has_every_option_that_was_asked_for():
    named = {name for _, cell in ROWS for name, _ in values(cell)}
    assert named >= {"empty", "sampling", "mosaic", "box_loss", "rpn_box_loss", "checkpoints_kept", "patience"}
    assert len(ROWS) == 21


def test_defaults_are_the_codes():
    assert f"| t; {RARE:g} |" in PAGE
    assert f"less than this share of its area ({MIN_VISIBLE:g})" in PAGE
