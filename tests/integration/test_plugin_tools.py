"""``spnas plugins``: a skeleton is written and works, contracts are checked, what is broken is named."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity
from spnas_core.space import SearchSpace
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Proposal
from spnas_search.cli.main import commands
from spnas_search.run import start_run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SPNAS = "from spnas_search.cli import main; main()"
PYTEST = "import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"

BROKEN = """
    from spnas_core import hookimpl
    from spnas_core.morphisms import AddStage, identity
    from spnas_core.tasks import TaskPlugin

    class Idle(AddStage):
        summary = "does nothing"

        def options(self, architecture):
            return [identity(architecture)]

    def read(path, *, seed, options):
        raise NotImplementedError  # nobody reads: without an example there is nothing to try

    @hookimpl
    def spnas_register_morphisms(register):
        register("idle", Idle("idle", "does nothing"))

    @hookimpl
    def spnas_register_datasets(register):
        register("nothing", read)

    @hookimpl
    def spnas_register_tasks(register):
        register("untried", TaskPlugin("what nobody can try", dict, dict))
"""

TAKEN_COMMANDS = """
    import click

    from spnas_core import hookimpl

    @hookimpl
    def spnas_register_commands(register):
        for name in ("show", "plugins", "train", "taken"):
            register(name, click.Command(name, callback=lambda: click.echo("mine")))
"""

FAILS_TO_RESOLVE = """
    from spnas_core import hookimpl

    @hookimpl
    def spnas_resolve_candidate(reference):
        raise RuntimeError("no luck")
"""


def spnas(*arguments):
    return CliRunner().invoke(commands, ["plugins", *map(str, arguments)])


@pytest.fixture
def wheel(tmp_path):
    """Build a package's wheel and unpack it, as pip does that installs it: ``wheel(folder)``."""
    installed = tmp_path / "installed"

    def build(folder):
        source, out = tmp_path / f"source-{folder.name}", tmp_path / f"wheels-{folder.name}"
        shutil.copytree(folder, source, ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
        out.mkdir()
        subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=source, check=True, capture_output=True)
        (file,) = out.glob("*.whl")
        with zipfile.ZipFile(file) as packed:
            packed.extractall(installed)

    build.path = installed
    return build


def python(code, *arguments, path):
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(path), *before])}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )


def test_the_annealing_example_is_installed_searches_and_keeps_the_contracts_beside_a_broken_plugin(wheel, tmp_path):
    wheel(EXAMPLES / "spnas-annealing")
    metadata = wheel.path / "spnas_half-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spnas-half\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[spnas]\nhalf = a_module_that_is_not_there\n")
    null = ["--set", "task.name=null", "--set", "executor.name=inline", "--set", "budget.candidates=6"]
    searched = python(SPNAS, "run", "annealing", *null, "--out", tmp_path / "run", path=wheel.path)
    assert searched.returncode == 0, searched.stderr
    assert "annealing search from b@8_11-21-21-21" in searched.stdout
    reason = "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    assert searched.stderr.splitlines() == [f"warning: plugin half of spnas-half is broken: {reason}"]
    checked = python(SPNAS, "plugins", "check", "annealing", path=wheel.path)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout == "strategies annealing: 7 of 7 tests passed\n"
    tested = python(PYTEST, EXAMPLES / "spnas-annealing" / "tests", "--rootdir", tmp_path, path=wheel.path)
    assert tested.returncode == 0, tested.stdout


def test_the_annealing_example_is_short():
    (module,) = (EXAMPLES / "spnas-annealing" / "src" / "spnas_annealing").glob("*.py")
    assert len(module.read_text().splitlines()) < 100


def test_a_skeleton_is_a_plugin_that_works(wheel, tmp_path):
    folder = tmp_path / "spnas-own-walk"
    written = spnas("new", "own-walk", "--out", folder)
    assert written.exit_code == 0, written.output
    assert f"Next: python3 -m pip install -e {folder}, then spnas plugins check own-walk" in " ".join(
        written.output.split()
    )
    wheel(folder)
    checked = python(SPNAS, "plugins", "check", "own-walk", path=wheel.path)
    assert checked.stdout == "strategies own-walk: 7 of 7 tests passed\n", checked.stderr
    tested = python(PYTEST, folder / "tests", "--rootdir", tmp_path, path=wheel.path)
    assert tested.returncode == 0, tested.stdout
    text = "".join(file.read_text() for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc")
    assert "$" not in text.replace("\n$ ", "\n")


@pytest.mark.parametrize("name", ["none", "mutator", "proposal", "fidelity", "strategy-plugin", "mutation", "archive"])
def test_a_skeleton_by_whatever_name_shadows_nothing(tmp_path, name):
    assert spnas("new", name, "--out", tmp_path / "own").exit_code == 0
    (module,) = (tmp_path / "own" / "src").glob("*/__init__.py")
    found = {}
    exec(compile(module.read_text(), str(module), "exec"), found)
    registered = []
    found["spnas_register_strategies"](lambda *item: registered.append(item))
    ((known, plugin),) = registered
    assert known == name
    start = Architecture.parse("b@8_11-21-21-21")
    strategy = plugin.build(plugin.settings(), SearchSpace(image_size=(64, 64), max_blocks=14))
    with start_run(
        tmp_path / "run", {"task": {"name": "null"}, "executor": {"name": "inline"}}, lambda *_: None
    ) as run:
        run.archive.commit_round((Proposal("start", None, identity(start), Fidelity(2)),), threads=1, phase="start")
        run.archive.finish(0, Evaluation({"score": 0.5}, {"multiply_adds": 1.0}), None)
        assert strategy.propose(run.archive, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Own", "a plugin cannot be called 'Own': take small letters and digits"),
        ("../own", "a plugin cannot be called '../own'"),
        ("serial", "there is a strategy called 'serial' already"),
        ("detect", "there is a plugin called 'detect' already"),
        ("kernels", "there is a package called spnas-kernels already"),
    ],
)
def test_a_skeleton_of_an_impossible_name_is_refused(tmp_path, name, message):
    refused = spnas("new", name, "--out", tmp_path / "own")
    assert refused.exit_code == 2
    assert message in refused.output
    assert not (tmp_path / "own").exists()


def test_a_skeleton_leaves_a_folder_alone_that_holds_something(tmp_path):
    (tmp_path / "mine").write_text("kept")
    refused = spnas("new", "own", "--out", tmp_path)
    assert refused.exit_code == 2
    assert f"{tmp_path} is not empty" in " ".join(refused.output.split())
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_what_breaks_its_contract_is_named_and_what_cannot_be_tried_is_said(install):
    install("weak", BROKEN)
    checked = spnas("check", "weak")
    output = " ".join(checked.output.split())
    assert checked.exit_code == 1
    assert "test_options_are_valid_and_the_same_each_time:" in output
    assert "changes nothing" in output
    assert "datasets nothing: not tested: the reader 'nothing' has no function write_example(folder)" in output
    assert "tasks untried: not tested: the task 'untried' says no settings to try it with" in output


def test_checking_a_plugin_that_is_not_there_suggests_the_nearest():
    refused = spnas("check", "serch")
    assert refused.exit_code == 2
    assert "no usable plugin is called 'serch'; did you mean 'search'" in refused.output


def test_the_list_is_json_where_that_is_asked_for():
    rows = [json.loads(line) for line in spnas("--json").output.splitlines()]
    assert {"kind": "strategies", "name": "serial", "plugin": "search"}.items() <= next(
        row.items() for row in rows if row["name"] == "serial"
    )
    assert all(row["summary"] for row in rows)


def test_a_command_that_takes_the_name_of_a_built_in_one_is_reported_and_the_built_in_one_runs(install):
    from spnas_core.plugins import reset_plugins

    install("taker", TAKEN_COMMANDS)
    shown = CliRunner().invoke(commands, ["show", "b@8_1-1"])
    assert "multiply-adds" in shown.output
    for name, owner in (("show", "search"), ("plugins", "search"), ("train", "detect")):
        clash = f"PluginError: plugins '{owner}' and 'taker' both register '{name}' among the commands"
        assert f"warning: plugin taker of spnas-taker is broken: {clash}: uninstall one, or rename" in shown.output
    assert CliRunner().invoke(commands, ["taken"]).output.startswith("mine\n")
    reset_plugins()


@pytest.mark.parametrize("command", [("show",), ("train", "--data", "shapes"), ("export",)])
def test_a_plugin_that_fails_to_resolve_a_candidate_is_reported_by_every_command_that_asks(install, tmp_path, command):
    from spnas_core.plugins import reset_plugins

    install("failing", FAILS_TO_RESOLVE)
    name, *options = command
    refused = CliRunner().invoke(commands, [name, str(tmp_path / "nowhere"), *options])
    assert refused.exit_code == 2
    assert "nowhere" in next(line for line in refused.output.splitlines() if line.startswith("error: "))
    assert "warning: plugin failing of spnas-failing is broken: RuntimeError: no luck" in refused.output
    reset_plugins()
