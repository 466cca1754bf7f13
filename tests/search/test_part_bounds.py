"""Searches of parts under bounds that the start itself does not keep: it is trained, and only its parts may win."""

import json
from types import SimpleNamespace

import pytest
from filled import Filled

import spnas_search
from spnas_core import Architecture
from spnas_core.errors import SpnasError
from spnas_search.driver.verdict import NoVerdict, outcome
from spnas_search.reports import summary
from spnas_search.run import read_archive, resume_run, start_run
from spnas_search.strategies.progress import is_progress

WHOLE = "b@8_111-2111-2111-2111"
BASE = {
    "task": {"name": "null"},
    "executor": {"name": "inline"},
    "inherit": "supernet",
    "start": WHOLE,
    "noise_seeds": 2,
    "warm_start_epochs": 3,
}
RANDOM = {"name": "random", "epochs": 0}
GRADIENT = {"name": "gradient"}
ODDS = {"swap": 1, "remove": 1, "expand": 1}


def searched(folder, **values):
    values = {"strategy": RANDOM, "budget": 6, "final": {"seeds": 1, "alone": 0}, **values}
    return spnas_search.search(**BASE | values, out=folder / "run")


@pytest.mark.parametrize("strategy", [RANDOM, GRADIENT], ids=["random", "gradient"])
@pytest.mark.parametrize(
    "bound",
    [
        {"max_multiply_adds": "0.6x"},
        {"max_parameters": "0.8x"},
        {"max_activation_bytes": "0.8x"},
        {"max_blocks": "0.6x"},
        {"max_blocks": 8},
    ],
    ids=lambda bound: "-".join(map(str, *bound.items())),
)
def test_parts_are_found_under_bounds_that_the_start_breaks(tmp_path, strategy, bound):
    with searched(tmp_path, strategy=strategy, space=bound) as run:
        archive = run.archive
        assert [child for child in archive.of_kind("child") if child.architecture not in run.space] == []
        assert archive.children == 6
        assert archive.start.architecture not in run.space
        if strategy is RANDOM:  # whose children the start, the deepest, excels
            assert archive.score(archive.start) > max(map(archive.score, archive.of_kind("child")))
        assert archive.winner.kind == "child"
        assert {one.kind for one in archive.finalists} == {"child"}
        assert archive.start not in archive.pareto()
        assert archive.start not in archive.best(99)
        assert not archive.behind(archive.winner)[0]
        assert not isinstance(outcome(archive, run.settings.run), NoVerdict)
        said = [part for part in summary(run) if isinstance(part, str)]
        assert any(f"spnas show {archive.winner.architecture}" in part for part in said)
        assert any(one.startswith("the start lies outside the search space, and so only its") for one in run.remarks)
        best = [one.id for one in archive.best(99)]
    with read_archive(tmp_path / "run") as again:
        assert [one.id for one in again.best(99)] == best


def test_a_start_inside_the_bounds_may_win(tmp_path):
    with searched(tmp_path, space={"max_multiply_adds": "1x"}) as run:
        assert run.archive.winner.kind == "start"
        assert not [one for one in run.remarks if "the start lies" in one]


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "evolution", "population": 4, "initial": 3, "odds": ODDS},
        {"name": "regularized-evolution", "population": 4, "initial": 3, "odds": ODDS},
        {"name": "generations", "generation": 4, "mutants": 2, "crossings": 1, "odds": ODDS},
        {"name": "hill-climb", "odds": {"remove": 1}, "max_mutations": 6},
        {"name": "serial", "odds": ODDS},
    ],
    ids=lambda table: table["name"],
)
def test_no_strategy_stays_with_a_start_outside_the_bounds(tmp_path, strategy):
    values = {"space": {"max_multiply_adds": "0.8x"}, "budget": 10, "final": {"seeds": 0}}
    with searched(tmp_path, strategy={"epochs": 0, **strategy}, **values) as run:
        archive = run.archive
        assert archive.children == 10
        assert archive.winner.kind == "child"
        first = {"random": 10, "serial": 10, "generations": 4}.get(strategy["name"], 4)
        if strategy["name"] != "serial":  # that samples, which begin with the start
            later = archive.of_kind("child")[first:]
            assert sum(child.parent == archive.start.id for child in later) <= 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": "b@8_2-2-2-2"}, "has no part inside the search space but itself"),
        ({"start": "b@8_1", "space": {"min_blocks": 1, "min_stages": 1}}, "has no part inside the search space but"),
        ({"space": {"max_multiply_adds": "0.1x"}}, "none of 1,000 parts of b@8_111-2111-2111-2111 that were drawn lie"),
        ({"space": {"min_stages": 5}}, "4 stages where min_stages = 5"),
        ({"space": {"min_blocks": 20}}, "15 blocks where min_blocks = 20"),
    ],
)
def test_a_start_of_which_no_part_keeps_the_bounds_is_refused_before_it_is_trained(tmp_path, values, message):
    for strategy in (RANDOM, GRADIENT):
        with pytest.raises(SpnasError, match=message) as caught:
            start_run(tmp_path / "run", BASE | {"strategy": strategy} | values, lambda *_: None)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "run").exists()


def test_other_searches_still_refuse_a_start_outside_their_bounds(tmp_path):
    values = BASE | {"inherit": "parent", "strategy": RANDOM, "space": {"max_multiply_adds": "0.5x"}}
    with pytest.raises(SpnasError, match=r"-2111 lies outside the search space: .* multiply_adds where"):
        start_run(tmp_path / "run", values, lambda *_: None)


def test_without_a_scored_part_there_is_no_winner(tmp_path):
    values = {"space": {"max_multiply_adds": "0.6x"}, "budget": 2, "alike_failures": 9}
    task = {"name": "null", "behaviour": {"3": "diverge", "4": "diverge"}}
    with searched(tmp_path, task=task, **values) as run:
        archive = run.archive
        assert [child.status for child in archive.of_kind("child")] == ["failed"] * 2
        assert archive.winner is None
        assert archive.best(1) == (archive.start,)
        found = outcome(archive, run.settings.run)
        assert found.reason.startswith("No part of the start, which lies outside the search space, has a defined score")
        assert all(isinstance(part, object) for part in summary(run))


class Known:
    """An archive of leads, each with the same error, whose start is ahead of all."""

    rule = SimpleNamespace(needs_controls=False)

    def __init__(self, leads, *, start_may_win):
        self._nodes = [SimpleNamespace(id=number, parent=0, lead=lead) for number, lead in enumerate([0.0, *leads])]
        self.start_may_win = start_may_win
        self.start = self._nodes[0]

    def __getitem__(self, number):
        return self._nodes[number]

    def best(self, count):
        return sorted(self._nodes[not self.start_may_win :], key=lambda one: -one.lead)[:count]

    def __len__(self):
        return len(self._nodes)

    def lead(self, one):
        return one.lead

    def difference_error(self, *_):
        return 0.01


def test_progress_is_what_is_better_than_what_may_win():
    leads = (-0.5, -0.6, -0.3, -0.29, -0.1)
    for start_may_win, expected in ((True, [False] * 5), (False, [True, False, True, False, True])):
        archive = Known(leads, start_may_win=start_may_win)
        assert [is_progress(archive, archive[number], 5, 0.1) for number in range(1, 6)] == expected


def test_a_start_that_may_not_win_is_not_as_good_as_the_best(tmp_path):
    filled = Filled(tmp_path, score=0.9, ranking="prediction", inherit="supernet")
    with filled.archive as archive:
        for score in (0.91, 0.89):
            filled.control(0, score)
        filled.round([0.6, 0.3])
        assert archive.tied(archive.start) or archive.behind(archive.start)[0] == 0
        archive.keep_start_out()
        assert archive.lead(archive.start) > max(archive.lead(child) for child in archive.of_kind("child"))
        assert not archive.tied(archive.start)


def test_a_search_of_before_in_which_nothing_is_said_of_the_start_goes_on_with_it(tmp_path):
    with start_run(tmp_path / "run", BASE | {"strategy": RANDOM, "space": {"max_blocks": 9}}, lambda *_: None) as run:
        assert not run.archive.start_may_win
        run.archive.forget("start_outside")
        assert json.loads(run.archive.recall("settings"))["inherit"] == "supernet"
    with resume_run(tmp_path / "run", lambda *_: None) as run:
        assert not run.archive.start_may_win, "nothing was evaluated yet"


def test_a_bound_on_latency_below_the_starts_is_its_parts_alone(tmp_path, monkeypatch):
    from spnas_core.cost.latency import Latency

    def measured(architecture, *_, **__):
        blocks = float(len(architecture.digits))
        return Latency(blocks, blocks, blocks, 3)

    monkeypatch.setattr("spnas_search.run.latency.measure_latency", measured)
    for number, limit in enumerate(("0.7x", 9.5)):
        with searched(tmp_path / str(number), space={"max_latency": limit}, final={"seeds": 0}) as run:
            assert all(len(child.architecture.digits) < 11 for child in run.archive.of_kind("child"))
            assert run.archive.children == 6
            assert run.archive.winner.kind == "child"
            assert Architecture.parse(WHOLE) == run.archive.start.architecture
