"""What of a run's task a search takes that starts at one of its candidates."""

import shutil

import pytest
from commands import NULL, budget, done

from spnas_search.cli.assembling import OPTIONS, assembled, remarks_on_start
from spnas_search.settings import read_toml, resolve, write_toml

GIVEN = dict.fromkeys(("data", "start", "init", "origin", "preset", "config", "latency_device")) | {
    **dict.fromkeys(("data_options", "assignments"), ()),
    **dict.fromkeys(("asynchronous", "from_scratch", "fresh"), False),
}
TASK = {
    "image_size": [320, 256],
    "data_options": {"test": "extra"},
    "data_seed": 3,
    "training": {"batch_size": 6, "momentum": 0.7},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on photographs that lie in a folder; what it found was made up."""
    folder = tmp_path_factory.mktemp("runs") / "voc"
    done("run", "serial", *NULL, *budget(2), "--out", folder)
    data = folder.parent / "data"
    data.mkdir()
    values = read_toml(folder / "run.toml")
    task = {"name": "detection", **resolve({"task": {**TASK, "data": f"voc:{data}"}}).run.task}
    write_toml({**values, "task": task}, folder / "run.toml")
    return folder


def taken(run, **given):
    return assembled("parallel", **{**GIVEN, "origin": str(run), **given})


def test_without_word_of_data_or_settings_it_is_the_runs_task(run):
    found = taken(run, assignments=("task.training.batch_size=3", "task.cache=always"))
    expected = read_toml(run / "run.toml")["task"]
    assert found["task"]["training"].pop("batch_size") == 3
    assert expected["training"].pop("batch_size") == 6
    assert found["task"] == {**expected, "cache": "always"}
    assert found["start"]
    assert found["strategy"] == {"name": "parallel"}
    assert list(remarks_on_start(str(run), found)) == [f"of {run} is the data, {expected['data']}, the canvas"]


def test_the_same_data_by_another_spelling_is_the_runs(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    found = taken(run, data="voc:data")
    assert found["task"]["image_size"] == [320, 256]
    assert list(remarks_on_start(str(run), found)) == [f"of {run} is the data, voc:data, the canvas, the training"]


@pytest.mark.parametrize(
    "given", [{"data": "shapes"}, {"data": "voc:elsewhere"}, {"assignments": ("task.data=shapes",)}]
)
def test_of_other_data_nothing_is_the_runs(run, given):
    found = taken(run, **given)
    assert set(found["task"]) == {"data"}
    assert not list(remarks_on_start(str(run), found))


def test_what_a_preset_or_a_file_does_not_say_is_the_runs(run, tmp_path):
    expected = read_toml(run / "run.toml")["task"]
    file = tmp_path / "mine.toml"
    file.write_text("[task]\nimage_size = [64, 64]\n", encoding="utf-8")
    for given in ({"preset": "small"}, {"config": file}):
        found = taken(run, **given)["task"]
        for key in ("data", "data_options", "data_seed"):
            assert found[key] == expected[key]
        is_said = "preset" in given
        assert (found["training"].get("momentum") == 0.7) == (not is_said), "what a preset says, it says as a whole"
        assert found["image_size"] == ([320, 256] if is_said else [64, 64])
    assert taken(run, preset="detnas")["task"] == {**expected, "recalibration_batches": 500}
    for given in ({"preset": "regularized"}, {"assignments": ("budget.candidates=3",)}):
        assert taken(run, **given)["task"] == expected
    named = tmp_path / "other.toml"
    named.write_text('[task]\ndata = "shapes"\n', encoding="utf-8")
    assert taken(run, config=named)["task"] == {"data": "shapes"}


def test_another_task_takes_nothing_and_a_code_has_none(run, tmp_path):
    done("run", "serial", *NULL, *budget(2), "--out", tmp_path / "null")
    assert "name" not in taken(tmp_path / "null", preset="small", assignments=("inherit=none",))["task"]
    assert taken(tmp_path / "null", preset="regularized")["task"]["name"] == "null"
    assert taken(run, assignments=("task.name=null",))["task"] == {"name": "null"}
    assert "task" not in taken("b@8_1-1-1-1")


def test_a_run_that_has_lost_its_settings_is_read_as_its_archive_remembers_it(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "run.toml").unlink()
    assert taken(copy)["task"]["name"] == "null"


def test_every_option_is_known_here():
    """So that none is left out above."""
    names = {name for option in OPTIONS for name in option(lambda: None).__click_params__[-1].opts}
    assert len(names) == len(GIVEN)
