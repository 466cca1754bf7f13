"""docs/recipes.md says what the preset resolves to, and what torchvision's detector has."""

import inspect
import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from torchvision.models.detection import FasterRCNN

from spnas_core.configuration import validate
from spnas_core.plugins import registry
from spnas_core.presets import find_preset
from spnas_detect.jobs import TrainSettings, flattened
from spnas_detect.jobs.presets import training_values
from spnas_detect.training import learning_rate_factor

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
TABLE = PAGE[PAGE.index("## r50-1x beside the references") :].split("\n## ")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("|")][
    2:
]
SET = {row[1].strip("`"): row[2] for row in ROWS if re.fullmatch(r"`[a-z_.0-9]+`", row[1])}
CONSTANTS = {row[1].strip("`"): row[2] for row in ROWS if ":" in row[1]}
SIGNATURE = inspect.signature(FasterRCNN).parameters
QUOTED = [match for row in ROWS for match in re.findall(r"`(\w+) = ([0-9.]+)`", row[3])]


def resolved():
    return flattened(validate(TrainSettings, training_values(find_preset("r50-1x"))).model_dump(mode="json"))


def read(cell):
    return None if cell == "none" else tomllib.loads(f"value = {cell.strip('`')}")["value"]


@pytest.mark.parametrize("key", SET)
def test_a_value_of_the_table_is_the_presets(key):
    assert resolved()[key] == read(SET[key])


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_of_the_table_is_the_codes(name):
    module, _, path = name.partition(":")
    found = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == read(CONSTANTS[name])


def test_everything_that_the_preset_sets_is_in_the_table():
    assert flattened(training_values(find_preset("r50-1x"))).keys() <= SET.keys()
    assert len(ROWS) > 50


@pytest.mark.parametrize(("name", "value"), QUOTED)
def test_what_is_said_of_torchvisions_detector_is_its_default(name, value):
    assert SIGNATURE[name].default == float(value)


def test_torchvisions_numbers_are_all_in_the_table():
    numbers = {name for name, one in SIGNATURE.items() if isinstance(one.default, int | float)}
    assert numbers - {name for name, _ in QUOTED} == {"rpn_score_thresh"}


def test_the_rate_falls_where_detectron2s_does():
    drops = tuple(resolved()["training.drops"])
    factors = [
        learning_rate_factor(step, 90_000, 1000, "step", drops) for step in (1000, 59_990, 60_010, 79_990, 80_010)
    ]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    longer = tuple(training_values(find_preset("r50-3x"))["training"]["drops"])
    factors = [
        learning_rate_factor(step, 270_000, 1000, "step", longer) for step in (209_950, 210_050, 249_950, 250_050)
    ]
    assert factors == pytest.approx([1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("epochs", [73, 146])
def test_the_last_phases_from_scratch_are_six_and_two_epochs_of_any_training(epochs):
    settings = validate(TrainSettings, training_values(find_preset("scratch-6x"))).training
    of_epochs = [
        learning_rate_factor(step, 500 * epochs, 0, settings.schedule, settings.drops, epochs)
        for step in range(499, 500 * epochs, 500)
    ]
    assert of_epochs == pytest.approx([1.0] * (epochs - 8) + [0.1] * 6 + [0.01] * 2)
    assert (settings.norm, settings.freeze_at) == ("group", 0)


def test_every_built_in_preset_is_in_the_overview():
    built_in = {name for name, plugin in registry("presets").plugins.items() if plugin in {"detect", "search"}}
    overview = PAGE[: PAGE.index("## Without a preset")]
    assert built_in == {
        name
        for line in overview.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
