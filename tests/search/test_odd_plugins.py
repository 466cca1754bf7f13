"""A plugin that is put together wrongly is named in one line, whatever kind it is of."""

import asyncio
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from spnas_core import hookimpl
from spnas_core.errors import ConfigError, PluginError
from spnas_core.plugins import (
    answers,
    asked,
    broken_plugins,
    built,
    notify,
    owner,
    plugin_manager,
    registry,
    reset_plugins,
)
from spnas_core.tasks import MetricSpec, TaskPlugin
from spnas_search.executors.evaluation import evaluate
from spnas_search.run import start_run
from spnas_search.screens import ScreenPlugin
from spnas_search.testing.null_task import NullTask

NULL = {"task": {"name": "null"}, "executor": {"name": "inline"}}
TABLES = {"screens": "screen", "strategies": "strategy", "tasks": "task", "executors": "executor"}


class Named(BaseModel):
    """What every table has."""

    name: str = "odd"
    draws: object = 2


class Nameless(BaseModel, extra="ignore"):
    """Forgets its own name."""


def impossible(*_):
    raise ZeroDivisionError("one by\nnone")


def unsuited(*_):
    raise ConfigError("these settings contradict each other")


class Odd(SimpleNamespace):
    """A task with something else in the place of one of its parts."""


def odd_task(part, value) -> Odd:
    good = NullTask()
    parts = {name: getattr(good, name) for name in ("metrics", "image_size", "prepare", "evaluate")} | {part: value}
    return Odd(**{name: found for name, found in parts.items() if found is not LACKING})


LACKING = object()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("metrics", (), r"has metrics = \(\): it must be a tuple of MetricSpec of different names, one or more"),
        ("metrics", None, "has metrics = None"),
        ("metrics", ("AP",), r"has metrics = \('AP',\)"),
        ("metrics", (MetricSpec("AP"), MetricSpec("AP", False)), "of different names"),
        ("image_size", (0, 5), r"has image_size = \(0, 5\): it must be \(width, height\) in pixels"),
        ("image_size", "64x64", "has image_size = '64x64'"),
        ("bounds", 5, "has bounds = 5: it must be a tuple of bounds, each with a method violation"),
        ("bounds", ("x",), r"has bounds = \('x',\)"),
        ("known_epochs", "x", "has known_epochs = 'x': it must be a tuple of numbers of epochs, or None"),
        ("known_epochs", (), r"has known_epochs = \(\)"),
        ("pretrains", "no", "has pretrains = 'no': it must be True or False"),
        ("evaluate", LACKING, "makes Odd without evaluate: it must be a Task"),
        ("prepare", lambda *_: None, "^Odd.prepare returned None: it must return a tuple of texts, "),
        ("prepare", lambda *_: (5,), r"^Odd.prepare returned \(5,\)"),
    ],
)
def test_a_task_is_held_to_its_contract(tmp_path, monkeypatch, part, value, message):
    plugin = TaskPlugin(summary="Odd.", settings=Named, build=lambda settings: odd_task(part, value))
    with pytest.raises(PluginError, match=message) as caught:
        begun(tmp_path, "tasks", monkeypatch, plugin)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("made", [None, "x", 5])
def test_what_is_no_task_is_named(tmp_path, monkeypatch, made):
    plugin = TaskPlugin(summary="Odd.", settings=Named, build=lambda settings: made)
    with pytest.raises(PluginError, match=rf"^task 'odd' .*makes {type(made).__name__} without metrics, image_size"):
        begun(tmp_path, "tasks", monkeypatch, plugin)


def raises(error):
    def raising(*_, **__):
        raise error

    return raising


class Unheard(BaseException):
    """What no library knows."""


ENDINGS = [SystemExit(0), asyncio.CancelledError("no"), GeneratorExit(), Unheard("at all")]


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: type(error).__name__)
def test_an_evaluation_that_wants_to_end_more_than_itself_has_failed(error):
    request = SimpleNamespace(candidate=3, threads=1)
    outcome = evaluate(SimpleNamespace(evaluate=raises(error)), request, lambda *_: None)
    assert outcome.evaluation is None
    assert outcome.reason.startswith(type(error).__name__)


def test_an_evaluation_that_the_user_interrupts_is_none():
    request = SimpleNamespace(candidate=3, threads=1)
    with pytest.raises(KeyboardInterrupt):
        evaluate(SimpleNamespace(evaluate=stopped), request, lambda *_: None)


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: type(error).__name__)
def test_a_plugin_that_is_told_or_asked_something_ends_nothing_but_its_part(error):
    hooks = ("spnas_run_finished", "spnas_resolve_candidate")
    listener = type("Listener", (), {hook: hookimpl(raises(error)) for hook in hooks})()
    plugin_manager().register(listener, name="odd-listener")
    try:
        (failed,) = notify("spnas_run_finished", run=None)
        assert (failed.name, failed.reason.split(":")[1].strip()) == ("odd-listener", type(error).__name__)
        assert next(answers("spnas_resolve_candidate", reference="none such"), None) is None
        assert f"odd-listener: {type(error).__name__}" in [
            f"{broken.name}: {broken.reason.partition(':')[0]}" for broken in broken_plugins()
        ]
    finally:
        plugin_manager().unregister(listener)
        reset_plugins()


def test_a_plugin_may_not_swallow_the_users_interruption():
    listener = type("Listener", (), {"spnas_run_finished": hookimpl(raises(KeyboardInterrupt()))})()
    plugin_manager().register(listener, name="odd-listener")
    try:
        with pytest.raises(KeyboardInterrupt):
            notify("spnas_run_finished", run=None)
    finally:
        plugin_manager().unregister(listener)


def begun(tmp_path, noun, monkeypatch, item, **table):
    """Start a run with something odd in it."""
    monkeypatch.setitem(registry(noun).items, "odd", item)
    monkeypatch.setitem(registry(noun).plugins, "odd", "ours")
    return start_run(tmp_path / "run", {**NULL, TABLES[noun]: {"name": "odd", **table}}, lambda *_: None)


@pytest.mark.parametrize("noun", TABLES)
@pytest.mark.parametrize(
    ("item", "message"),
    [
        (SimpleNamespace(settings=dict, build=impossible, suited=None, screen=None), "must be a pydantic model"),
        (SimpleNamespace(build=impossible, suited=None, screen=None), "has settings None"),
        (SimpleNamespace(settings=Nameless, build=impossible, suited=None, screen=None), "without a field 'name'"),
    ],
)
def test_settings_that_are_no_model_with_a_name_are_refused(tmp_path, monkeypatch, noun, item, message):
    with pytest.raises(PluginError, match=rf"^{TABLES[noun]} 'odd' of plugin") as caught:
        begun(tmp_path, noun, monkeypatch, item)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("noun", ["screens", "strategies", "tasks"])
def test_what_cannot_be_built_is_named_with_what_it_raised(tmp_path, monkeypatch, noun):
    item = SimpleNamespace(settings=Named, build=impossible, suited=None, screen=None)
    with pytest.raises(
        PluginError, match=r"raised ZeroDivisionError: one by none in build \(.*, line \d+\)$"
    ) as caught:
        begun(tmp_path, noun, monkeypatch, item)
    assert str(caught.value).startswith(owner(noun, "odd"))
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_built_inside_of_phases_is_named_itself(tmp_path, monkeypatch):
    odd = SimpleNamespace(settings=Named, build=impossible, suited=None, screen=None)
    monkeypatch.setitem(registry("strategies").items, "odd", odd)
    phases = {"name": "phases", "phases": [{"name": "odd"}]}
    with pytest.raises(PluginError, match=r"^strategy 'odd' of plugin .* raised ZeroDivisionError"):
        start_run(tmp_path / "run", {**NULL, "strategy": phases}, lambda *_: None)


def stopped(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("error", ENDINGS, ids=lambda error: type(error).__name__)
def test_what_wants_to_end_more_than_itself_has_failed(monkeypatch, error):
    said = type(error).__name__
    monkeypatch.setitem(registry("screens").items, "odd", ScreenPlugin("odd", Named, raises(error)))
    with pytest.raises(PluginError, match=rf"^screen 'odd' of plugin .* raised {said}.* in build \("):
        built("screens", "odd", None, None)
    with pytest.raises(PluginError, match=rf"^it raised {said}.* in propose \(.*, line \d+\)$"):
        asked("it", "propose", raises(error))


def test_an_interruption_passes_through_a_plugin(monkeypatch):
    monkeypatch.setitem(registry("screens").items, "odd", ScreenPlugin("odd", Named, stopped))
    with pytest.raises(KeyboardInterrupt):
        built("screens", "odd", None, None)
    with pytest.raises(KeyboardInterrupt):
        asked("it", "propose", stopped)


def test_an_error_of_ours_says_by_itself_what_is_wrong(monkeypatch):
    monkeypatch.setitem(registry("screens").items, "odd", ScreenPlugin("odd", Named, unsuited))
    with pytest.raises(ConfigError, match=r"^these settings contradict each other$"):
        built("screens", "odd", None, None)


@pytest.mark.parametrize("draws", [0, -1, 1.5, "many", None, True])
def test_a_screen_draws_whole_rounds(tmp_path, monkeypatch, draws):
    with pytest.raises(
        PluginError, match=rf"screen 'odd' .* has draws = {draws!r}: .* whole number 'draws', 1 or more"
    ):
        begun(tmp_path, "screens", monkeypatch, ScreenPlugin("odd", Named, impossible), draws=draws)
