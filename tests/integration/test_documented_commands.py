"""Every block of README and the pages: commands are typed, Python is run, settings are read.

What computes for long comes as far as that, its settings checked; the rest does all that it says.
"""

import re
import sys
import tomllib

import click
import pytest
import torch
from click.testing import CliRunner
from documents import PAGES, ROOT, blocks, prose, read, typed
from workshop import Begun, fill_stock, stop_at_work

import spnas_search
from spnas_search.cli.main import commands

LANGUAGES = {"console", "python", "toml", "text", "{include} ../README.md", "{toctree}"}
BLOCKS = [block for page in PAGES for block in blocks(page)]
ELSEWHERE = {
    "nox": "its sessions are named by noxfile.py, see below",
    "python3 -m venv": "tests run in an environment",
    "source": "enters it",
    "python3 -m pip install": "nox -s wheels installs, in an empty environment",
    "pip install": "the same",
    "ray": "tests/search/test_ray.py",
    "pytest": "tests/integration/test_example_plugin.py",
    "echo": "tests/integration/test_completion.py",
    "_SPNAS_COMPLETE=fish_source": "tests/integration/test_completion.py",
}
"""Commands that are not typed here, by their first words, and who sees to them."""

PYTHON_ELSEWHERE = {
    "docs/plugins.md": "test_plugins_page.py",
    "docs/interop.md": "test_interop_page.py",
    "docs/metrics.md": "../detect/test_lamr.py",
}
LONG = {"run", "plan", "train", "compare", "study signal", "study searches", "study spaces", "extend", "export"}
SESSIONS = set(re.findall(r"^@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE))


def of(language):
    found = [block for block in BLOCKS if block.language == language]
    return pytest.mark.parametrize("block", found, ids=[block.name for block in found])


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return fill_stock(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def place(stock, tmp_path, monkeypatch):
    folder = tmp_path / "place"
    folder.mkdir()
    stock.lay_out(folder)
    stop_at_work(stock, monkeypatch)
    monkeypatch.chdir(folder)
    return folder


def looked_up(words):
    """The command that these words begin with, and its name."""
    command, name, context = commands, "", click.Context(commands)
    for word in words:
        below = command.get_command(context, word) if isinstance(command, click.Group) else None
        if below is None:
            break
        command, name = getattr(below, "load", lambda below=below: below)(), f"{name} {word}".strip()
    return command, name


def install_plugins(folder, install, monkeypatch):
    """Have what a folder's metadata name as plugins, without an installation."""
    metadata = folder / "pyproject.toml"
    project = tomllib.loads(metadata.read_text())["project"] if metadata.exists() else {}
    for name, module in project.get("entry-points", {}).get("spnas", {}).items():
        sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(folder / "src")
        install(name, f"from {module} import *", distribution=project["name"])


def sees_to(text):
    return next((who for words, who in ELSEWHERE.items() if text.startswith(f"{words} ")), None)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_is_of_a_language_that_is_tested(block):
    assert block.language in LANGUAGES


@pytest.mark.parametrize("page", sorted({block.page for block in BLOCKS if block.language == "console"}))
def test_commands_of_a_page_typed_one_after_the_other_do_what_is_shown(page, place, stock, install, monkeypatch):
    for block in blocks(page):
        for one in typed(block) if block.language == "console" else ():
            if sees_to(one.text):
                if " install " in one.text:
                    install_plugins(place / one.words[-1], install, monkeypatch)
                continue
            program, *words = stock.made_small(one.words)
            assert program == "spnas", f"{block.name}: who sees to {one.text!r}?"
            ended = CliRunner().invoke(commands, words)
            if isinstance(ended.exception, Begun):
                assert looked_up(words)[1] in LONG
                continue
            assert ended.exit_code == 0, f"{block.name}: {one.text}\n{ended.output}"
            if one.output:
                shown = [line.rstrip() for line in ended.output.splitlines()]
                assert [line.rstrip() for line in one.output] == shown, f"{block.name}: {one.text}"


def folder_of(words):
    """Where a search goes."""
    strategy = "serial" if words[2].startswith("-") else words[2]
    return words[words.index("--out") + 1] if "--out" in words else f"runs/{strategy}"


@of("console")
def test_no_search_of_a_block_is_refused_for_the_folder_of_another(block):
    begun = [one.words for one in typed(block) if one.words[:2] == ["spnas", "run"] and "--resume" not in one.words]
    folders = [folder_of(words) for words in begun]
    assert len(set(folders)) == len(folders), folders


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_that_the_text_names_are_there(page):
    for text in re.findall(r"`(spnas [^`\n]+)`", prose(page)):
        words = text.split()[1:]
        command, name = looked_up(words)
        assert name or words[0].startswith(("-", "…")), f"{page}: {text}"
        there = {option for one in command.get_params(click.Context(command)) for option in one.opts}
        named = {word.partition("=")[0] for word in words if re.match(r"--\w", word)}
        assert named <= there | {"--help"}, f"{page}: {text}"


@pytest.mark.parametrize("page", PAGES)
def test_sessions_that_pages_name_are_there(page):
    named = [name for names in re.findall(r"\bnox -s ((?:[a-z_\d]+ ?)+)", read(page)) for name in names.split()]
    assert set(named) <= SESSIONS


@of("python")
def test_python_runs(block, tmp_path, monkeypatch):
    if block.page in PYTHON_ELSEWHERE:
        assert (ROOT / "tests" / "integration" / PYTHON_ELSEWHERE[block.page]).exists()
        return
    whole = spnas_search.search

    def quick(**given):
        return whole(**{**given, "task": "null", "executor": {"name": "inline"}, "budget": 2, "final": {"seeds": 0}})

    monkeypatch.setattr(spnas_search, "search", quick, raising=False)
    monkeypatch.chdir(tmp_path)
    features = [torch.rand(1, 8, 64 // stride, 64 // stride) for stride in (4, 8, 16, 32)]
    names = {"__name__": "__main__"}
    if block.page == "csrc/README.md":
        names |= {"features": features, "rois": torch.tensor([[0.0, 4, 4, 40, 40]])}
    exec(compile(block.text, block.name, "exec"), names)


@of("toml")
def test_settings_are_toml(block):
    assert tomllib.loads(block.text)


def test_what_is_seen_to_elsewhere_is_still_shown():
    shown = [one.text for block in BLOCKS if block.language == "console" for one in typed(block)]
    for words in ELSEWHERE:
        assert any(text.startswith(f"{words} ") for text in shown), words
