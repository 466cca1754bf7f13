"""Commands import what they use: help needs no torch, and what reads an archive or a code no images."""

import importlib
import os
import pkgutil
import subprocess
import sys

import click
import pytest

import spnas_core
import spnas_detect
import spnas_detect.detectors
import spnas_detect.heads
import spnas_detect.necks
import spnas_search
import spnas_search.reports
from spnas_core.commands.lazy import LazyCommand
from spnas_core.plugins import registry
from spnas_search.cli.main import commands

IMAGES = ("torchvision", "PIL", "spnas_detect.data", "spnas_detect.task", "pycocotools", "hotcoco", "matplotlib")
SCIPY = ("scipy.stats",)
QUICK = ("torch", "numpy", "pydantic", "ray", "rich", "scipy", *IMAGES)
NULL = ("task.name=null", "executor.name=inline", "budget.candidates=2")
COMPLETION = {"_SPNAS_COMPLETE": "bash_complete", "COMP_WORDS": "spnas ca", "COMP_CWORD": "1"}
LAZY = (
    *(spnas_core, spnas_search, spnas_search.reports),
    *(spnas_detect, spnas_detect.detectors, spnas_detect.heads, spnas_detect.necks),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    spnas_search.search(task="null", executor={"name": "inline"}, budget=2, out=folder).close()
    return folder


def imported(arguments, unwanted, **environment):
    """Which of the unwanted modules a command has imported, and what it has printed."""
    code = (
        "import sys\nfrom spnas_search.cli import main\n"
        f"sys.argv = {['spnas', *map(str, arguments)]!r}\n"
        "try:\n    main()\nexcept SystemExit as ending:\n    assert not ending.code, ending.code\n"
        f"print('imported:', *[name for name in {unwanted!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    output, _, names = ended.stdout.rpartition("imported:")
    return names.split(), output


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_no_torch(option):
    found, output = imported([option], QUICK)
    assert found == []
    assert "spnas" in output


def test_the_command_is_there_as_a_module_too():
    ran = subprocess.run(
        [sys.executable, "-m", "spnas_search", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("spnas, version ")


def test_completing_a_command_imports_no_torch():
    found, output = imported([], QUICK, **COMPLETION)
    assert found == []
    assert "candidates" in output


@pytest.mark.parametrize("command", ["show", "candidates", "presets", "report"])
def test_what_needs_no_images_imports_nothing_that_reads_them(command, run):
    arguments = {"show": ["b@8_11-21"], "candidates": [run], "presets": [], "report": [run]}[command]
    found, output = imported([command, *arguments], (*IMAGES, *SCIPY))
    assert found == []
    assert output.strip()


def test_a_search_that_trains_nothing_imports_no_torchvision(tmp_path):
    settings = [word for setting in NULL for word in ("--set", setting)]
    found, output = imported(["run", "serial", *settings, "--out", tmp_path / "run"], ("torchvision",))
    assert found == []
    assert output.strip()


def test_completing_an_option_of_a_lazy_command_knows_its_options():
    _, output = imported([], (), _SPNAS_COMPLETE="bash_complete", COMP_WORDS="spnas candidates --pa", COMP_CWORD="2")
    assert "--pareto" in output


@pytest.mark.parametrize("name", sorted(registry("commands").items))
def test_lists_say_of_a_command_what_it_says_itself(name):
    listed = commands.get_command(click.Context(commands), name)
    assert isinstance(listed, LazyCommand)
    itself = listed.load()
    assert itself.name == name
    assert " ".join(itself.help.split()).startswith(listed.short_help.rstrip("."))


def test_a_lazy_command_that_is_none_is_named():
    with pytest.raises(TypeError, match=r"spnas_core\.errors:SpnasError is no click command but a type"):
        LazyCommand("odd", "spnas_core.errors:SpnasError", "odd").load()


@pytest.mark.parametrize("package", LAZY, ids=lambda package: package.__name__)
def test_public_names_are_there_and_hide_no_module(package):
    modules = {one.name for one in pkgutil.iter_modules(package.__path__)}
    assert modules.isdisjoint(package.__all__)  # importing the module would put it in the name's place
    for name in package.__all__:
        assert getattr(importlib.import_module(package.__name__), name) is not None
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        package.nothing_of_this_name  # noqa: B018
