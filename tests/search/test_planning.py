"""What a search will take is counted as the search counts, and measured on the task."""

import json
import re

import pytest
from click.testing import CliRunner

import spnas_search
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, EvaluationError, SpnasError
from spnas_core.tasks import Fidelity
from spnas_search import planning
from spnas_search.cli.main import commands
from spnas_search.planning import _Speed, plan_search

NULL = {"task": {"name": "null"}, "executor": {"name": "inline"}, "noise_seeds": 2}
FINAL = {"final": {"seeds": 2, "finalists": 2, "rescores": 1}}


def silent(*_):
    """Nobody is told how far reading is."""


@pytest.mark.parametrize("strategy", ["serial", "random", "full"])
def test_evaluations_are_those_of_a_search(tmp_path, strategy):
    named = {"name": strategy} if strategy != "full" else {"name": "full", "serial_candidates": 4}
    # As noisy as the search that the plan is made with, so that it takes the same decisions.
    settings = {
        **NULL,
        **FINAL,
        "task": {"name": "null", "noise": 0.01},
        "strategy": named,
        "budget": {"candidates": 6},
    }
    plan = plan_search(settings, silent)
    with spnas_search.search(**settings, out=tmp_path / "run") as run:
        counted = {}
        for one in run.archive:
            before = counted.get(one.phase, (0, 0))
            counted[one.phase] = (before[0] + 1, before[1] + one.epochs)
    found = {phase.name: (phase.evaluations, phase.epochs) for phase in plan.phases}
    assert found == counted


def test_hours_alone_bound_the_children_by_the_time_that_they_take(monkeypatch):
    slow = {**NULL, "task": {"name": "null", "duration": 0.02}, "final": {"seeds": 0, "rescores": 0}}

    def children(seconds, **budget):
        settings = {**slow, "strategy": {"n_stuck": 999}, "budget": {"hours": seconds / 3600, **budget}}
        return {phase.name: phase.evaluations for phase in plan_search(settings, silent).phases}.get("search", 0)

    monkeypatch.setattr("spnas_search.planning.MOST_CHILDREN", 60)
    assert 20 < children(1) < 50, "16, the default of a search without any bound, is none here"
    assert 60 <= children(1000) < 90, "and their controls"
    assert 5 <= children(1000, candidates=5) < 8
    assert children(0.01) == 0


@pytest.mark.parametrize("how", ["alone", "in phases"])
def test_latency_as_a_cost_is_not_needed_to_foresee_a_search(tmp_path, how):
    learns = {"name": "q-learning", "shape": "power", "cost": "latency", "cost_target": 3.0, "reward": "merit"}
    strategy = learns if how == "alone" else {"name": "phases", "phases": [{"candidates": 2, **learns}]}
    settings = {**NULL, **FINAL, "strategy": strategy, "pareto": ["latency"], "budget": {"candidates": 2}}
    assert {"search", "noise"} <= {phase.name for phase in plan_search(settings, silent).phases}


def test_weights_are_as_large_as_the_largest_network_makes_them():
    """The null task writes a few bytes, whatever the network: what is added to them follows from the parameters."""
    settings = {**NULL, **FINAL, "budget": {"candidates": 6}}
    with_growth = plan_search({**settings, "strategy": {"name": "serial", "odds": {"expand": 1.0}}}, silent)
    without = plan_search({**settings, "budget": {"candidates": 0}}, silent)
    smallest = backbone_cost(Architecture.parse("b@8_111-21-21-21"), 128, 128).parameters
    start = backbone_cost(Architecture.parse("b@8_11-21-21-21"), 128, 128).parameters
    assert with_growth.weights - without.weights > 4 * (smallest - start)


def test_time_is_the_tasks(tmp_path):
    slow = {**NULL, "task": {"name": "null", "duration": 0.05}, "budget": {"candidates": 2}, "final": {"seeds": 0}}
    plan = plan_search(slow, silent)
    evaluations = sum(phase.evaluations for phase in plan.phases)
    assert plan.seconds >= evaluations * 0.05
    assert plan.seconds < evaluations * 0.5
    assert plan.workers == 1
    assert plan.memory > 2**27
    assert plan.weights > 0


def test_an_epochs_time_is_a_line_in_the_multiply_adds():
    speed = _Speed(2.0, 1.0, 0.5)
    assert speed.seconds(0, 100) == 2.0
    assert speed.seconds(3, 4) == 2.0 + 3 * (1.0 + 0.5 * 4)


def test_the_largest_network_of_the_search_is_probed_too(monkeypatch):
    asked = []

    def evaluated(task, request, report):
        asked.append((str(request.rewrite.child), request.fidelity))
        if request.weights is not None:
            request.weights.write_bytes(b"0123456789")
        return type("Outcome", (), {"evaluation": object(), "reason": ""})

    monkeypatch.setattr("spnas_search.planning.evaluate", evaluated)
    plan = plan_search({**NULL, "budget": {"candidates": 3}, "final": {"seeds": 0}}, silent)
    codes = list(dict.fromkeys(code for code, _ in asked))
    assert codes[0] == "b@8_11-21-21-21"
    assert len(codes) == 2
    assert Fidelity(1, share=1 / 64) in [fidelity for _, fidelity in asked]
    assert asked[-1][1].share == 1.0  # nothing took long enough
    assert plan.weights > 10


def test_shares_that_make_no_batch_are_passed_over():
    images = {"train": 40, "validation": 4, "test": 4, "image_size": 64, "max_size": 32}
    detector = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20, "rpn_samples": 8, "box_samples": 8}
    task = {"name": "detection", "data_options": images, "image_size": [64, 64], "detector": detector}
    settings = {"task": task, "executor": {"name": "inline"}, "start": "b@4_1-1", "budget": {"candidates": 1}}
    space = {"min_blocks": 1, "min_stages": 1}
    plan = plan_search({**settings, "space": space, "final": {"seeds": 0}}, silent)  # a 64th is less than an image
    assert plan.cache > 40 * 3 * 64 * 64
    assert plan.seconds > 0


def test_a_probe_that_fails_says_why():
    broken = {**NULL, "task": {"name": "null", "behaviour": {"0": "diverge"}}}
    with pytest.raises(EvaluationError, match="the probe of b@8_11-21-21-21 failed: the loss is NaN"):
        plan_search(broken, silent)


def test_a_wrong_setting_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match=r"budget\.candidats"):
        plan_search({**NULL, "budget": {"candidats": 3}}, silent)


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": "recall"},
        {"init": "absent.safetensors"},
        {"pareto": ["weight"]},
        {"inherit": "none", "init": "absent.safetensors"},
        {"budget": {"epochs": 3}},
        {"space": {"max_latency": 0.001}},
    ],
    ids=repr,
)
def test_what_a_run_would_refuse_is_refused_in_its_words(tmp_path, wrong):
    with pytest.raises(SpnasError) as planned:
        plan_search({**NULL, **wrong}, silent)
    with pytest.raises(SpnasError) as begun:
        spnas_search.search(**{**NULL, **wrong}, out=tmp_path / "run")
    assert without_numbers(planned.value) == without_numbers(begun.value)


def without_numbers(error):
    """Return a message without what was measured."""
    return re.sub(r"[0-9.]+ ms|median [0-9.]+", "", str(error))


def test_the_command_shows_it_and_prints_exact_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["plan", "serial", "--set", "task.name=null", "--set", "executor.name=inline"]
    given += ["--set", "budget.candidates=2", "--set", "final.seeds=0"]
    shown = CliRunner().invoke(commands, given)
    assert shown.exit_code == 0, shown.output
    assert "time: 0:0" in shown.output
    assert "disk: 0B of cached data" in shown.output.replace("  ", " ")
    exact = json.loads(CliRunner().invoke(commands, [*given, "--json"]).stdout)
    assert [phase["name"] for phase in exact["phases"]][:3] == ["start", "noise", "search"]
    assert list(tmp_path.iterdir()) == []
    hours = CliRunner().invoke(commands, [*given, "--set", "budget.hours=3"])
    assert "its budget of 3 hours ends it at the latest" in hours.output
    refused = CliRunner().invoke(commands, [*given, "--set", "budget.hours=soon"])
    assert refused.exit_code == 2


def test_hours_beyond_all_numbers_are_planned(tmp_path):
    values = {"task": {"name": "null"}, "strategy": {"name": "random"}, "executor": {"name": "inline"}}
    found = plan_search({**values, "budget": {"hours": 1e306}}, lambda *_: None)
    assert found.phases


def test_a_plan_by_hours_has_the_phases_that_the_search_would_have(monkeypatch):
    """Ten serial children where no number of children is given, however many the hours have time for."""
    seen, foreseen = [], planning._foreseen

    def spied(*given):
        found = foreseen(*given)
        seen.append([sum(one.strategy == number for one in found[0] if one.kind == "child") for number in (0, 2)])
        return found

    monkeypatch.setattr(planning, "_foreseen", spied)
    monkeypatch.setattr(planning, "_fitting", lambda *_: 40)
    serial = {"n_stuck": 1000, "reignition": {"pretrain_epochs": 1}}
    values = {"strategy": {"name": "full", "serial": serial, "parallel": {"n_stuck": 1000}}, "budget": {"hours": 1.0}}
    values |= {"task": {"name": "null"}, "executor": {"name": "inline"}, "space": {"max_multiply_adds": "6x"}}
    plan_search(values, lambda *_: None)
    assert [serial for serial, _ in seen] == [10, 10]
    assert seen[1][1] > seen[0][1]


def test_hours_bound_free_children_beside_a_budget_of_epochs():
    """Parts of a trained start take no epochs, and in a plan nothing takes hours."""
    values = {"inherit": "supernet", "start": "b@8_111-211-211-21", "strategy": {"name": "random", "epochs": 0}}
    values |= {"task": {"name": "null"}, "executor": {"name": "inline"}, "budget": {"epochs": 100, "hours": 1}}
    assert plan_search(values, silent).phases
