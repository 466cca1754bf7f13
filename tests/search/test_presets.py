"""Presets of searches: each resolves, one's own settings go on top, and what was resolved is what goes on."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from commands import INLINE, NULL, budget, done, refused

from spnas_core import Architecture
from spnas_core.configuration import read_toml, set_key
from spnas_core.plugins import registry
from spnas_core.presets import Preset, find_preset
from spnas_core.tasks import Suited, TaskPlugin
from spnas_search import search
from spnas_search.run import resume_run, start_run
from spnas_search.series import resume_series, start_series
from spnas_search.settings import over_preset, resolve, search_values
from spnas_search.testing.null_task import NullSettings

ROOT = Path(__file__).resolve().parents[2]
TOP = 'summary = "for tests"\nmachine = "any"\n'
PRESETS = [
    *("demo", "defaults", "small", "r50-1x", "r50-3x", "retinanet-r50-1x", "scratch-6x", "efficientdet-d0"),
    *("paper-voc", "paper-coco", "paper-ecp"),
    *("regularized", "large-scale", "hierarchical", "detnas", "pnas", "nash"),
    *("nasnet", "eas", "nas-fpn", "mnasnet", "proxyless", "metaqnn", "blockqnn"),
    *("darts", "snas", "proxyless-gradient", "auto-deeplab"),
]


def write(folder, text, name="mine"):
    file = folder / f"{name}.toml"
    file.write_text(TOP + text, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", sorted({*PRESETS, *registry("presets").items}))
def test_every_preset_resolves_and_its_start_is_inside_its_space(name):
    values = search_values(find_preset(name))
    settings = resolve(values)
    start = Architecture.parse(settings.run.start)
    settings.run.space.build(start, settings.task.image_size).check(start)
    assert values.get("task", {}).get("data", "shapes") == "shapes"  # nobody's own
    assert settings.run.init is None


@pytest.mark.parametrize("name", PRESETS)
def test_every_presets_space_bounds_what_a_network_costs(name):
    space = resolve(search_values(find_preset(name))).run.space
    assert {space.max_parameters, space.max_multiply_adds} != {"none"}


@pytest.mark.parametrize("package", ["detect", "search"])
def test_the_files_of_presets_are_in_the_wheels(package):
    folder = ROOT / "packages" / f"spnas-{package}"
    metadata = tomllib.loads((folder / "pyproject.toml").read_text())
    assert "presets/*.toml" in metadata["tool"]["setuptools"]["package-data"]["*"]
    files = {file.stem for file in (folder / "src" / f"spnas_{package}" / "presets").glob("*.toml")}
    registered = registry("presets")
    assert files == {name for name, plugin in registered.plugins.items() if plugin == package}
    assert files <= set(PRESETS)


def test_the_defaults_are_spelt_out():
    assert resolve(search_values(find_preset("defaults"))).as_dict() == resolve({}).as_dict()


@pytest.mark.parametrize(
    ("preset", "code"),
    [
        ("paper-coco", "x32x4d+deep_1111-21111-2111111111111111111111111-211-1_1-0-2-1-2s"),
        ("paper-ecp", "r_11121111-21111-112-1111-1111_0-0-2-0-3s"),
    ],
)
def test_the_authors_networks_are_inside_the_papers_spaces(preset, code):
    settings = resolve(search_values(find_preset(preset)))
    space = settings.run.space.build(Architecture.parse(settings.run.start), settings.task.image_size)
    space.check(Architecture.parse(code))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[search]\nstrt = 'b_1'\n", "there is no setting 'strt'; did you mean 'start'?"),
        ("[search.strategy]\npol = 1\n", "there is no setting 'strategy.pol'; did you mean 'pool'?"),
        ("[task.training]\nlearnin_rate = 1\n", "there is no setting 'task.training.learnin_rate'; did you mean"),
        ("[search.task]\nname = 'null'\n", "[search] has a table 'task': its settings stand in [task]"),
        ("[serch]\n", "there is no setting 'serch'; did you mean 'search'?"),
        ("[search.strategy]\nname = 'serail'\n", "did you mean 'serial'?"),
    ],
)
def test_a_wrong_key_of_a_file_is_one_line_with_preset_file_and_key(tmp_path, text, message):
    file = write(tmp_path, text)
    error = refused("run", "serial", "--preset", file, *NULL, "--out", tmp_path / "run")
    assert error.startswith(f"error: preset {file} ({file}): ")
    assert message in error
    assert not (tmp_path / "run").exists()


def test_an_unknown_preset_is_one_line_with_the_nearest(tmp_path):
    error = refused("run", "serial", "--preset", "paper-cocoa", "--out", tmp_path / "run")
    assert error == "error: 'paper-cocoa' is not among the registered presets; did you mean 'paper-coco'?"


def test_file_options_and_single_keys_go_on_top(tmp_path):
    preset = write(
        tmp_path,
        "[task]\nname = 'null'\nnoise = 0.5\nhalf_life = 2.0\n[search]\nwarm_start_epochs = 9\nnoise_seeds = 3\n"
        "seed = 5\nstart = 'b@8_1-2'\n[search.strategy]\npool = 7\nepochs = 6\n",
    )
    config = tmp_path / "config.toml"
    config.write_text("seed = 6\nnoise_seeds = 2\n[strategy]\npool = 2\n", encoding="utf-8")
    out = tmp_path / "run"
    options = ("--start", "b@8_11-21-21-21", "--set", "strategy.epochs=1", "--set", "executor.name=inline")
    done("run", "serial", "--preset", preset, "--config", config, *options, *budget(1), "--out", out)
    saved = read_toml(out / "run.toml")
    assert (saved["seed"], saved["noise_seeds"], saved["warm_start_epochs"]) == (6, 2, 9)
    assert (saved["strategy"]["pool"], saved["strategy"]["epochs"]) == (2, 1)
    assert (saved["task"]["noise"], saved["task"]["half_life"]) == (0.5, 2.0)
    assert saved["start"] == "b@8_11-21-21-21"
    preset.unlink()
    done("run", "--out", out, "--resume")
    assert read_toml(out / "run.toml") == saved


def test_a_resumed_run_takes_no_preset(tmp_path):
    assert "leave out --preset" in refused("run", "--preset", "demo", "--out", tmp_path, "--resume")


FULL = (
    "[search.strategy]\nname = 'full'\n[search.strategy.serial]\nepochs = 5\nround = 3\npool = 9\n"
    "[search.strategy.serial.reignition]\nmost = 2\n[search.strategy.parallel]\nepochs = 7\nmost_rows = 1\n"
)


def over(tmp_path, *assignments):
    own = {}
    for assignment in assignments:
        set_key(own, assignment)
    return resolve(over_preset(Preset("mine", write(tmp_path, FULL)), own)).strategy


def test_a_part_of_the_whole_search_is_taken_by_its_name(tmp_path):
    assert over(tmp_path).name == "full"
    serial = over(tmp_path, "strategy.name=serial", "strategy.pool=2")
    assert (serial.name, serial.epochs, serial.round, serial.pool, serial.reignition.most) == ("serial", 5, 3, 2, 2)
    parallel = over(tmp_path, "strategy.name=parallel")
    assert (parallel.epochs, parallel.most_rows) == (7, 1)


def test_a_baseline_has_the_rounds_and_epochs_of_the_search(tmp_path):
    random = over(tmp_path, "strategy.name=random")
    assert (random.name, random.epochs, random.round) == ("random", 5, 3)
    climb = over(tmp_path, "strategy.name=hill-climb")
    assert climb.epochs == 5


def test_another_task_or_executor_than_the_presets_has_its_own_settings():
    own = {"task": {"name": "null", "noise": 0.25}, "executor": {"name": "inline"}}
    settings = resolve(over_preset(find_preset("paper-voc"), own))
    assert (settings.task.name, settings.task.noise) == ("null", 0.25)
    assert settings.executor.name == "inline"
    assert settings.run.space.min_blocks == 8


def test_presets_lists_all_and_prints_one_as_toml_or_json():
    listed = done("presets")
    assert all(name in listed for name in PRESETS)
    printed = tomllib.loads(done("presets", "paper-voc"))
    assert printed["search"]["strategy"]["serial"]["max_mutations"] == 3
    assert printed["task"]["image_size"] == [1000, 600]
    assert "extends" not in printed
    assert json.loads(done("presets", "paper-voc", "--json")) == printed
    assert "did you mean 'demo'?" in refused("presets", "dmo")


def test_a_printed_preset_is_a_preset_again(tmp_path):
    file = tmp_path / "copy.toml"
    file.write_text(done("presets", "paper-ecp"), encoding="utf-8")
    assert search_values(Preset("copy", file)) == search_values(find_preset("paper-ecp"))


class Choosy:
    """A task's plugin that chooses its noise, and counts how often it was asked."""

    def __init__(self):
        self.asked = []
        self.plugin = TaskPlugin("chooses", NullSettings, NullSettings.build, self.suited)

    def suited(self, values, start, init, prefix=""):
        self.asked.append((str(start), init, prefix))
        if "noise" in values:
            return Suited(values)
        return Suited({**values, "noise": 0.125}, (f"chosen: {prefix}noise = 0.125: it suits",))


@pytest.fixture
def choosy(monkeypatch):
    plugin = Choosy()
    monkeypatch.setitem(registry("tasks").items, "null", plugin.plugin)
    return plugin


SMALL = {
    "task": {"name": "null"},
    "executor": {"name": "inline"},
    "budget": {"candidates": 0},
    "warm_start_epochs": 2,
    "noise_seeds": 2,
    "strategy": {"epochs": 1},
    "final": {"seeds": 0},
}


def test_what_a_task_chooses_is_said_saved_and_kept(tmp_path, choosy):
    with start_run(tmp_path / "run", SMALL, lambda *_: None) as run:
        assert run.remarks[0] == "chosen: task.noise = 0.125: it suits"
        assert run.settings.task.noise == 0.125
    assert choosy.asked == [("b@8_11-21-21-21", None, "task.")]
    assert read_toml(tmp_path / "run" / "run.toml")["task"]["noise"] == 0.125
    with resume_run(tmp_path / "run", lambda *_: None) as run:
        assert run.settings.task.noise == 0.125
        assert not any("chosen" in remark for remark in run.remarks)
    assert len(choosy.asked) == 1


def test_a_run_from_before_goes_on_with_what_it_had(tmp_path, choosy):
    with start_run(tmp_path / "run", {**SMALL, "task": {"name": "null", "noise": 0.5}}, lambda *_: None):
        pass
    asked = len(choosy.asked)
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    with resume_run(tmp_path / "copy", lambda *_: None) as run:
        assert run.settings.task.noise == 0.5
    assert len(choosy.asked) == asked


def test_a_series_chooses_once_for_all_its_searches(tmp_path, choosy):
    series = start_series(tmp_path / "series", SMALL, 2)
    assert series.remarks == ("chosen: task.noise = 0.125: it suits",)
    for _, run in series.open(lambda *_: None):
        with run:
            assert run.settings.task.noise == 0.125
            assert not any("chosen" in remark for remark in run.remarks)
    assert resume_series(tmp_path / "series").values["task"]["noise"] == 0.125


def test_a_wrong_setting_is_told_before_the_task_chooses(tmp_path, choosy):
    refused("run", "serial", "--set", "task.name=null", "--set", "sed=1", "--out", tmp_path / "run")
    assert choosy.asked == []


def test_the_command_prints_what_was_chosen(tmp_path, choosy):
    output = done("run", "serial", *NULL, *budget(1), "--out", tmp_path / "run")
    assert "chosen: task.noise = 0.125: it suits" in output


def test_a_study_chooses_too(tmp_path, choosy):
    settings = ("--set", "task.name=null", *INLINE, "--codes", "3", "--trainings", "2", "--epochs", "2")
    output = done("study", "signal", *settings, "--child-epochs", "1", "--out", tmp_path / "study")
    assert "chosen: task.noise = 0.125: it suits" in output
    assert read_toml(tmp_path / "study" / "study.toml")["settings"]["task"]["noise"] == 0.125


def test_a_study_takes_a_preset(tmp_path):
    preset = write(tmp_path, "[task]\nname = 'null'\nnoise = 0.5\n[search]\nwarm_start_epochs = 2\n")
    settings = ("--set", "executor.name=inline", "--codes", "3", "--trainings", "2", "--child-epochs", "1")
    done("study", "signal", "--preset", preset, *settings, "--out", tmp_path / "study")
    assert read_toml(tmp_path / "study" / "study.toml")["settings"]["task"]["noise"] == 0.5
    assert "--preset" in refused("study", "signal", "--preset", preset, "--out", tmp_path / "study", "--resume")


def test_a_search_from_python_takes_a_preset(tmp_path):
    preset = write(tmp_path, "[task]\nname = 'null'\nnoise = 0.5\n" + FULL.replace("most = 2", "most = 0"))
    settings = {key: SMALL[key] for key in ("executor", "warm_start_epochs", "noise_seeds", "final")}
    with search(preset=str(preset), budget=1, out=tmp_path / "run", **settings) as run:
        assert run.settings.task.noise == 0.5
        assert run.settings.strategy.name == "full"


def test_options_of_a_presets_data_are_not_those_of_other_data():
    demo = find_preset("demo")
    assert over_preset(demo, {})["task"]["data_options"]["train"] == 1024
    other = over_preset(demo, {"task": {"data": "voc:photographs"}})["task"]
    assert (other["data"], other["detector"]["neck_channels"]) == ("voc:photographs", 16)
    assert "data_options" not in other
