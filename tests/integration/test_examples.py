"""The files of settings in ``examples/`` are read by the commands that stand in them."""

from pathlib import Path

import pytest

from spnas_core.configuration import read_toml, validate
from spnas_detect.jobs import TrainSettings
from spnas_search.settings import resolve

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_holds_known_settings_and_says_its_own_command(path):
    values = read_toml(path)
    command = "spnas train" if "architecture" in values else "spnas run"
    if command == "spnas train":
        assert validate(TrainSettings, {"data": "shapes", **values}).architecture == values["architecture"]
    else:
        assert resolve(values).run.start == values["start"]
    assert f"{command} " in path.read_text(encoding="utf-8")
    assert f"--config examples/{path.name}" in path.read_text(encoding="utf-8")
