"""A search without rounds: a child is proposed whenever a worker is free, from whatever has ended by then."""

import contextlib
import heapq
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest
from commands import budget, done, invoke, rows
from driving import SPACE, Scripted, run_settings, scores

from spnas_core.errors import ConfigError
from spnas_core.tasks import EvaluationRequest
from spnas_search.archive import Archive, Candidate
from spnas_search.driver import SearchStoppedError, next_beside, run_search
from spnas_search.executors import Outcome, places
from spnas_search.executors.evaluation import evaluate
from spnas_search.executors.ray.losses import Node, room
from spnas_search.monitors import Silent
from spnas_search.run import ENDED, resume_run, start_run
from spnas_search.strategies import CheckedStrategy, PolicySettings, QLearningSettings, Serial, SerialSettings
from spnas_search.strategies.one_by_one import one_by_one
from spnas_search.strategies.phases import FullSettings, PhasesSettings
from spnas_search.strategies.progress import why_stuck

WORKERS, CHILDREN = 4, 24


class Stop(BaseException):
    """Somebody has pulled the plug."""


class Clock:
    """Workers on a made-up clock; durations are drawn, some ten times as long as others.

    Args:
        run: whose task evaluates.
        ends_after: outcomes after which the plug is pulled.
    """

    workers = WORKERS

    def __init__(self, run, ends_after: int = 10**6) -> None:
        self.task, self.archive, self.ends_after = run.task, run.archive, ends_after
        self.random = random.Random(len(run.archive))
        self.now, self.busy, self.idle_while_searching = 0.0, 0.0, 0
        self.waiting: list[EvaluationRequest] = []
        self.running: list[tuple[float, int, Outcome]] = []

    def submit(self, request: EvaluationRequest) -> None:
        assert request.parent_weights is None or request.parent_weights.exists(), "weights that are gone"
        self.waiting.append(request)

    def outcomes(self) -> Iterator[Outcome]:
        while self.waiting or self.running:
            while self.waiting and len(self.running) < WORKERS:
                request, takes = self.waiting.pop(0), self.random.choice([1.0, 1.0, 3.0, 10.0])
                self.busy += takes
                outcome = evaluate(self.task, request, lambda _: None)
                heapq.heappush(self.running, (self.now + takes, request.candidate, outcome))
            if 0 < self.archive.children < CHILDREN:
                self.idle_while_searching += WORKERS - len(self.running)
            self.now, _, outcome = heapq.heappop(self.running)
            if not self.ends_after:
                raise Stop
            self.ends_after -= 1
            yield outcome

    def cancel(self, candidate: int) -> bool:
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Watching(Silent):
    """Notes what was under way whenever something was proposed."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.beside: dict[int, tuple[int, ...]] = {}

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        new = {one.id for one in candidates}
        pending = tuple(one.id for one in self.archive.pending() if one.id not in new)
        self.beside.update((one.id, pending) for one in candidates)


def values(**given) -> dict:
    """A search on the null task of 24 children, without a verdict."""
    strategy = {"name": "serial", "round": 2, "epochs": 2, **given.pop("strategy", {})}
    if strategy["name"] in {"serial", "parallel"}:
        strategy.setdefault("n_stuck", 1000)
    return {
        "asynchronous": True,
        "task": {"name": "null", "noise": 0.02, **given.pop("task", {})},
        "executor": {"name": "inline"},
        "start": "b@8_11-21-21-21",
        "warm_start_epochs": 4,
        "space": {"max_multiply_adds": "20x"},
        "budget": {"candidates": CHILDREN},
        "final": {"seeds": 0, "rescores": 0},
        "strategy": strategy,
        **given,
    }


def searched(folder: Path, given: dict | None = None, *, ends_after: int = 10**6) -> tuple[Clock, Watching]:
    """Search, or go on with a search, until its end or until the plug is pulled."""
    opened = start_run(folder, given, lambda *_: None) if given is not None else resume_run(folder, lambda *_: None)
    with opened as run:
        clock, watching = Clock(run, ends_after), Watching(run.archive)
        run.make_executor = lambda report: clock
        with contextlib.suppress(Stop):
            run_search(run, watching)
        return clock, watching


def test_no_worker_waits_while_children_are_left(tmp_path):
    rounds, _ = searched(tmp_path / "rounds", values(asynchronous=False))
    clock, _ = searched(tmp_path / "asynchronous", values())
    assert rounds.idle_while_searching > 0
    assert clock.idle_while_searching == 0
    assert clock.busy / clock.now > rounds.busy / rounds.now


@pytest.mark.parametrize(
    ("strategy", "ranking"),
    [
        ("serial", "gains"),
        ("serial", "lead"),
        ("serial", "prediction"),
        ("random", "gains"),
        ("regularized-evolution", "prediction"),
        ("parallel", "lead"),
    ],
)
def test_every_strategy_and_rule_goes_without_rounds(tmp_path, strategy, ranking):
    clock, watching = searched(tmp_path / "run", values(ranking=ranking, strategy={"name": strategy}))
    assert clock.idle_while_searching == 0
    with Archive.read(tmp_path / "run" / "archive.db") as archive:
        children = archive.of_kind("child")
        assert len(children) == CHILDREN
        assert all(archive.lead(child) is not None for child in children)
        assert sum(bool(watching.beside[child.id]) for child in children) > CHILDREN / 2
        groups = [(one.parent, one.fidelity) for one in archive.of_kind("control") if one.phase == "search"]
        assert len(groups) == len(set(groups)), "one control serves all children of equal parent and fidelity"


@pytest.mark.parametrize("ends_after", [0, 1, 6, 13, 27])
def test_a_search_whose_plug_is_pulled_goes_on(tmp_path, ends_after):
    searched(tmp_path / "run", values(ranking="gains"), ends_after=ends_after)
    with Archive.read(tmp_path / "run" / "archive.db") as archive:
        before = [one for one in archive if one.status == "done"]
        assert archive.pending()
        assert len(before) == ends_after
    clock, _ = searched(tmp_path / "run")
    assert clock.idle_while_searching == 0
    with Archive.read(tmp_path / "run" / "archive.db") as archive:
        assert [archive[one.id] for one in before] == before
        assert not archive.pending()
        assert archive.children == CHILDREN
        assert len({child.architecture for child in archive.of_kind("child")}) == CHILDREN


def test_whoever_has_begun_in_rounds_may_go_on_without(tmp_path):
    searched(tmp_path / "run", values(asynchronous=False), ends_after=12)
    config = tmp_path / "run" / "run.toml"
    config.write_text(config.read_text().replace("asynchronous = false", "asynchronous = true"))
    clock, _ = searched(tmp_path / "run")
    assert clock.idle_while_searching == 0


def test_nothing_begins_beside_a_reignition(tmp_path):
    reignition = {"most": 2, "n_after": 5}
    strategy = {"n_stuck": 4, "reignition": reignition}
    _, watching = searched(tmp_path / "run", values(strategy=strategy, task={"differences": 0.0}))
    with Archive.read(tmp_path / "run" / "archive.db") as archive:
        reignited = [one.id for one in archive.of_kind("reignition")]
        assert len(reignited) == 2
        for number in reignited:
            assert not any(number in beside for beside in watching.beside.values())
            after = [one for one in archive.of_kind("child") if one.id > number][:5]
            assert {one.parent for one in after} == {number}
        assert any(watching.beside[number] for number in reignited), "a reignition waits for nobody"


def test_a_strategy_that_follows_another_waits_for_it(tmp_path):
    phases = [{"name": "serial", "candidates": 7, "epochs": 2}, {"name": "parallel", "candidates": 9, "epochs": 2}]
    given = values()
    given["strategy"] = {"name": "phases", "phases": phases}
    _, watching = searched(tmp_path / "run", given)
    with Archive.read(tmp_path / "run" / "archive.db") as archive:
        assert [len(archive.children_of(number)) for number in range(2)] == [7, 9]
        for child in archive.of_kind("child"):
            beside = [archive[number] for number in watching.beside[child.id]]
            assert {one.strategy for one in beside if one.kind == "child"} <= {child.strategy}


@pytest.mark.parametrize("name", ["hill-climb", "phases"])
def test_a_strategy_that_compares_rounds_is_refused(tmp_path, name):
    given = values()
    given["strategy"] = {"name": name, **({"phases": [{"name": "hill-climb"}]} if name == "phases" else {})}
    with pytest.raises(ConfigError, match=f"the strategy '{name}' compares whole rounds, and asynchronous"):
        searched(tmp_path / "run", given)
    assert not (tmp_path / "run").exists()


def test_weights_that_are_lost_on_the_way_are_made_again(tmp_path):
    with start_run(tmp_path / "run", values(inherit="warm-start"), lambda *_: None) as run:

        class Losing(Clock):
            def outcomes(self) -> Iterator[Outcome]:
                for number, outcome in enumerate(super().outcomes()):
                    if number == 12:
                        run.weights.path(0).write_bytes(b"damaged")
                    yield outcome

        class Listening(Silent):
            said: tuple[str, ...] = ()

            def message(self, text: str) -> None:
                self.said += (text,)

        clock, listening = Losing(run), Listening()
        run.make_executor = lambda report: clock
        run_search(run, listening)
        assert listening.said == ("weights of candidate 0 are missing or damaged: evaluating it again",)
        assert run.archive.children == CHILDREN
        assert not [one for one in run.archive if one.status != "done"]


def test_what_fails_alike_ends_it_and_is_proposed_again(tmp_path):
    with start_run(tmp_path / "run", values(), lambda *_: None) as run:

        class Full(Clock):
            def outcomes(self) -> Iterator[Outcome]:
                for number, outcome in enumerate(super().outcomes()):
                    full = number > 12
                    yield Outcome(outcome.request, None, f"disk {number} is full") if full else outcome

        run.make_executor = lambda report: Full(run)
        with pytest.raises(SearchStoppedError, match="3 evaluations in a row failed alike: disk"):
            run_search(run, Silent())
        assert not [one for one in run.archive if one.status == "failed"]
        assert run.archive.pending()
    searched(tmp_path / "run")
    with Archive.read(tmp_path / "run" / "archive.db") as archive:
        assert archive.children == CHILDREN
        assert {one.status for one in archive} == {"done"}


def test_a_search_whose_last_child_is_taken_back_is_not_over(tmp_path):
    with start_run(
        tmp_path / "run", values(asynchronous=False, final={"seeds": 0, "finalists": 2, "rescores": 2}), lambda *_: None
    ) as run:

        class Full(Clock):
            def outcomes(self) -> Iterator[Outcome]:
                for outcome in super().outcomes():
                    one, children = run.archive[outcome.request.candidate], run.archive.of_kind("child")
                    full = one.phase == "finalists" or one in children[CHILDREN - 1 :]
                    yield Outcome(outcome.request, None, "disk is full") if full else outcome

        run.make_executor = lambda report: Full(run)
        with pytest.raises(SearchStoppedError, match="in a row failed alike: disk"):
            run_search(run, Silent())
        assert run.archive.phase == "search"
        assert run.archive.recall(ENDED) is None


def test_deciding_changes_nothing_and_sees_only_what_has_ended(drive):
    strategy = CheckedStrategy("serial", Serial(SerialSettings(round=3, epochs=2), SPACE), SPACE)
    run = drive(run_settings(candidates=20, hours=1), strategy, scores())
    for _ in range(3):
        run.round()
    archive, settings = run.archive, run.settings
    first = next_beside(archive, settings, strategy, 2)
    archive.commit_round(first.proposals, threads=1, phase="search")
    second = next_beside(archive, settings, strategy, 1)
    assert second == next_beside(archive, settings, strategy, 1)
    children = [one.rewrite.child for one in (*first.proposals, *second.proposals) if one.kind == "child"]
    assert len(set(children)) == 3
    assert next_beside(archive, settings, strategy, 0) is None
    assert next_beside(archive, settings, strategy, 1, out_of_time=True) is None


def test_strategies_inside_others_propose_one_by_one_too():
    assert one_by_one(SerialSettings(round=7, pool=3)) == SerialSettings(round=1, pool=3)
    whole = one_by_one(FullSettings(serial={"round": 5}, parallel={"round": 3, "epochs": 9}))
    assert (whole.serial.round, whole.parallel.round, whole.parallel.epochs) == (1, 1, 9)
    tables = one_by_one(PhasesSettings(phases=({"name": "serial", "round": 4}, {"name": "parallel", "epochs": 2})))
    assert tables.phases == ({"name": "serial", "round": 1}, {"name": "parallel", "epochs": 2, "round": 1})


def test_what_proposes_one_by_one_learns_from_as_many_at_once_as_before():
    assert one_by_one(PolicySettings(round=20)) == PolicySettings(round=1, per_update=20)
    assert one_by_one(QLearningSettings(round=9, per_update=3)) == QLearningSettings(round=1, per_update=3)
    tables = one_by_one(PhasesSettings(phases=[{"name": "policy", "round": 6, "candidates": 12}, {"name": "serial"}]))
    assert tables.phases[0] == {"name": "policy", "round": 1, "per_update": 6, "candidates": 12}
    wrong = PhasesSettings(phases=[{"name": "policy", "round": 2000}])
    assert one_by_one(wrong) == wrong, "whoever builds it names what was written"
    tables = ({"name": "policy"}, {"name": "q-learning", "round": 7}, {"name": "policy", "per_update": 5})
    found = one_by_one(PhasesSettings(phases=tables)).phases
    assert [(one["round"], one["per_update"]) for one in found] == [(1, 10), (1, 7), (1, 5)]


def test_who_is_under_way_has_not_failed_to_be_progress(drive):
    run = drive(run_settings(candidates=9), Scripted([(0, 2), (0, 2)], [(0, 2), (0, 2)]), scores())
    for _ in range(3):
        run.round()
    assert why_stuck(run.archive, 2, 0.1) is not None
    assert why_stuck(run.archive, 4, 0.1) is None
    run.archive.commit_round(run.strategy.propose(run.archive, None), threads=1)
    assert why_stuck(run.archive, 4, 0.1) is None


def test_a_cluster_has_room_for_what_its_nodes_have_room_for():
    nodes = [Node("a", "one", {"CPU": 5.0, "GPU": 1.0}), Node("b", "two", {"CPU": 8.0}), Node("c", "three", {})]
    assert room(nodes, {"CPU": 2}) == 2 + 4
    assert room(nodes, {"CPU": 1, "GPU": 1 / 3}) == 3
    assert room([], {"CPU": 1}) == 0


def test_an_executor_that_says_nothing_of_places_has_as_many_as_workers(tmp_path):
    with start_run(tmp_path / "run", values(), lambda *_: None) as run:
        assert places(Clock(run)) == WORKERS
        assert places(run.make_executor(lambda _: None)) == 1


def test_the_command_searches_without_rounds_in_two_processes(tmp_path):
    given = ("--set", "task.name=null", "--set", "task.duration=0.02", "--set", "executor.workers=2")
    said = done("run", "serial", "--asynchronous", *given, *budget(6, 2), "--out", tmp_path / "run")
    assert "asynchronous = true" in (tmp_path / "run" / "run.toml").read_text()
    assert "6/6 children" in said
    assert sum(row["kind"] == "child" for row in rows(tmp_path / "run")) == 6
    assert "leave out --asynchronous" in invoke("run", "serial", "--asynchronous", "--resume").output
