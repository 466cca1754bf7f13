"""An executor of a plugin is held to its contract: what breaks it ends the search in one line that names the plugin."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

import spnas_search
from spnas_core.encoding import Architecture
from spnas_core.errors import DataError, PluginError
from spnas_core.morphisms import identity
from spnas_core.plugins import registry
from spnas_core.tasks import Evaluation, EvaluationRequest, Fidelity
from spnas_search.executors import CheckedExecutor, ExecutorPlugin, ExecutorSettings, make_executor, places
from spnas_search.executors.inline import InlineExecutor
from spnas_search.run import read_archive
from spnas_search.testing import NullTask

START = Architecture.parse("b@8_1-1")
AT = 4
GIVEN = {
    "task": {"name": "null"},
    "strategy": {"name": "serial", "epochs": 1},
    "warm_start_epochs": 2,
    "noise_seeds": 2,
    "budget": {"candidates": 3},
    "final": {"seeds": 0},
}
ODD = {
    "none": (lambda one: [], "ended without an outcome of candidate 4: each request must have one"),
    "two": (lambda one: [one, one], "gave an outcome of candidate 4, which waits for none"),
    "nothing": (lambda one: [None], "gave a NoneType as an outcome: it must be an Outcome"),
    "a result alone": (lambda one: [one.evaluation], "gave a Evaluation as an outcome"),
    "another's": (
        lambda one: [replace(one, request=replace(one.request, candidate=0))],
        "gave an outcome of candidate 0, which waits for none",
    ),
    "a stranger's": (
        lambda one: [replace(one, request=replace(one.request, candidate=99))],
        "gave an outcome of candidate 99, which waits for none",
    ),
    "no request": (lambda one: [replace(one, request=None)], "gave an outcome of candidate None"),
    "metrics alone": (
        lambda one: [replace(one, evaluation=one.evaluation.metrics)],
        "candidate 4 with a dict as its evaluation: it must be an Evaluation, or None",
    ),
    "an odd reason": (lambda one: [replace(one, reason=None)], "candidate 4 with reason = None: it must be a text"),
    "an odd trace": (lambda one: [replace(one, trace=["x"])], r"candidate 4 with trace = \['x'\]: it must be a text"),
    "odd seconds": (
        lambda one: [replace(one, seconds=None)],
        "candidate 4 with seconds = None: it must be a finite number",
    ),
}


def registered(monkeypatch, build) -> None:
    plugin = ExecutorPlugin("odd", build, ExecutorSettings, most_workers=1, can_time_out=False)
    monkeypatch.setitem(registry("executors").items, "odd", plugin)
    monkeypatch.setitem(registry("executors").plugins, "odd", "ours")


@pytest.mark.parametrize(("answers", "message"), ODD.values(), ids=ODD)
def test_an_answer_that_is_none_names_the_executor(tmp_path, monkeypatch, answers, message):
    asked = []

    class Odd(InlineExecutor):
        def outcomes(self):
            asked.append(self)
            assert len(asked) < 50, "the search asks for ever"
            for one in super().outcomes():
                yield from answers(one) if one.request.candidate == AT else [one]

    registered(monkeypatch, Odd)
    with pytest.raises(PluginError, match=rf"^executor 'odd' of plugin 'ours' .*{message}"):
        spnas_search.search(**GIVEN, executor={"name": "odd"}, out=tmp_path / "run")
    with read_archive(tmp_path / "run") as archive:
        is_entered = answers is ODD["two"][0]
        assert archive[AT].status == ("done" if is_entered else "proposed")


@pytest.mark.parametrize("lacking", ["workers", "submit", "outcomes", "cancel", "__enter__"])
def test_what_is_no_executor_is_named(monkeypatch, lacking):
    parts = dict.fromkeys(("workers", "submit", "outcomes", "cancel", "__enter__", "__exit__"))
    del parts[lacking]
    made = type("Odd", (), parts)()
    registered(monkeypatch, lambda *_: made)
    with pytest.raises(PluginError, match=rf"^executor 'odd' .* makes Odd without {lacking}: it must be an Executor$"):
        make_executor(ExecutorSettings(name="odd"), NullTask(), 1, print)


@pytest.mark.parametrize("said", [0, -1, 1.5, None, "two"])
def test_an_executor_says_how_many_run_at_a_time(said):
    checked = CheckedExecutor("inline", SimpleNamespace(workers=said))
    with pytest.raises(
        PluginError, match=r"^executor 'inline' .* has workers = .*: it must be a whole number, 1 or more"
    ):
        _ = checked.workers
    assert places(CheckedExecutor("inline", SimpleNamespace(workers=2))) == 2
    assert places(CheckedExecutor("inline", SimpleNamespace(workers=2, places=0))) == 0


def test_who_stops_listening_asks_again_and_a_users_mistake_forgets_all():
    def request(number):
        return EvaluationRequest(number, identity(START), None, None, Fidelity(2), seed=number)

    executor = InlineExecutor(ExecutorSettings(), NullTask(behaviour={3: "user-error"}), 1, lambda _: None)
    with CheckedExecutor("inline", executor) as checked:
        for number in range(2):
            checked.submit(request(number))
        assert next(checked.outcomes()).request.candidate == 0
        (left,) = checked.outcomes()
        assert isinstance(left.evaluation, Evaluation)
        for number in (3, 4):
            checked.submit(request(number))
        with pytest.raises(DataError, match="the null task was told"):
            list(checked.outcomes())
        assert list(checked.outcomes()) == []
