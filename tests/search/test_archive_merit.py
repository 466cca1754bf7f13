"""Merits, ranks and the Pareto front equal what a naive recomputation from scratch gives."""

import math
import statistics
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reported import shown

import spnas_search
from spnas_core.cost import Latency
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import AddStage, Expand, Rewrite, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Candidate, Proposal, Tradeoff
from spnas_search.archive.pareto import front, fronts
from spnas_search.reports import pareto_table
from spnas_search.run import latency

SAME = identity(Architecture.parse("b@8_1-1"))
SCORE, LOSS = MetricSpec("score"), MetricSpec("loss", higher_is_better=False)
NAN = math.nan


class Naive:
    """The definitions, written down once more and without an index."""

    def __init__(self, candidates: list[Candidate], objective: MetricSpec) -> None:
        self.candidates = candidates
        self.objective = objective

    def score(self, candidate: Candidate) -> float:
        value = candidate.metrics.get(self.objective.name, NAN)
        if math.isnan(value):
            return -math.inf
        return value if self.objective.higher_is_better else -value

    def controls(self, parent: int, epochs: int) -> list[float]:
        return [
            self.score(c)
            for c in self.candidates
            if (c.kind, c.status, c.parent, c.epochs) == ("control", "done", parent, epochs)
            and self.score(c) > -math.inf
        ]

    def gain(self, candidate: Candidate) -> float | None:
        if candidate.kind != "child" or candidate.status != "done":
            return None
        controls = self.controls(candidate.parent, candidate.epochs)
        return self.score(candidate) - math.fsum(controls) / len(controls) if controls else None

    def lead(self, candidate: Candidate) -> float | None:
        if not candidate.is_node or candidate.status != "done" or self.score(candidate) == -math.inf:
            return None
        if candidate.kind == "start":
            return 0.0
        base, gain = self.lead(self.candidates[candidate.parent]), self.gain(candidate)
        return None if base is None or gain is None else base + gain

    def merit(self, candidate: Candidate) -> float | None:
        lead, start = self.lead(candidate), self.score(self.candidates[0])
        return None if lead is None or start == -math.inf else start + lead

    def ranked(self) -> list[Candidate]:
        with_merit = [c for c in self.candidates if self.merit(c) is not None]
        return sorted(with_merit, key=lambda c: (-self.merit(c), c.id))

    def pareto(self, cost: str) -> list[Candidate]:
        points = [(c.cost[cost], self.merit(c), c) for c in self.ranked() if not math.isnan(c.cost.get(cost, NAN))]
        front = [
            (price, -merit, c.id)
            for price, merit, c in points
            if not any(m >= merit and p <= price and (m > merit or p < price) for p, m, _ in points)
        ]
        return [self.candidates[number] for _, _, number in sorted(front)]

    def noise(self, epochs: int | None) -> float | None:
        alike = {}
        for c in self.candidates:
            if c.status == "done" and c.split == "validation" and self.score(c) > -math.inf:
                alike.setdefault((c.subject, c.parent, c.epochs), []).append(self.score(c))
        groups = [group for key, group in alike.items() if len(group) > 1 and epochs in {None, key[2]}]
        freedom = sum(len(group) - 1 for group in groups)
        if not freedom:
            return None
        return math.sqrt(sum(statistics.variance(group) * (len(group) - 1) for group in groups) / freedom)


def assert_equal_to_naive(archive: Archive) -> None:
    candidates = list(archive)
    naive = Naive(candidates, archive.objective)
    for candidate in candidates:
        assert archive.score(candidate) == naive.score(candidate)
        assert archive.gain(candidate) == naive.gain(candidate)
        assert archive.merit(candidate) == pytest.approx(naive.merit(candidate), abs=1e-12)
        apart = (
            archive.lead(candidate),
            archive.lead_error(candidate),
            archive.merit(candidate),
            archive.tied(candidate),
        )
        assert archive.place(candidate) == (None if apart[0] is None else apart)
    ranked = naive.ranked()
    assert list(archive.best(len(candidates))) == ranked
    assert archive.best(2) == tuple(ranked[:2])
    for cost in ("multiply_adds", "parameters"):
        if any(cost in candidate.cost for candidate in candidates):
            assert list(archive.pareto(cost)) == naive.pareto(cost)
    for epochs in (None, 1, 2):
        assert archive.noise(epochs) == pytest.approx(naive.noise(epochs), abs=1e-12)
    assert [c.id for c in archive.pending()] == [c.id for c in candidates if c.status == "proposed"]


# Few values, so that ties in merit and cost, replicates and equal points are common.
scores = st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.7, NAN])
costs = st.fixed_dictionaries(
    {"multiply_adds": st.integers(1, 4)}, optional={"parameters": st.sampled_from([1, 2, 3, NAN])}
)


@st.composite
def forests(draw):
    """Candidates behind a start, in rounds, and the order in which they end."""
    count = draw(st.integers(1, 14))
    kinds = draw(
        st.lists(st.sampled_from(["child", "child", "control", "control", "final"]), min_size=count, max_size=count)
    )
    parents, proposals = [0], []
    for number, kind in enumerate(kinds, 1):
        parent = draw(st.sampled_from(parents))
        proposals.append((kind, parent, draw(st.integers(1, 2))))
        if kind == "child":
            parents.append(number)
    results = draw(
        st.lists(
            st.tuples(st.sampled_from(["done"] * 6 + ["failed", "proposed"]), scores, costs),
            min_size=count + 1,
            max_size=count + 1,
        )
    )
    return proposals, results, draw(st.permutations(range(count + 1))), draw(st.sampled_from([SCORE, LOSS]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(forests())
def test_any_order_of_results_gives_the_naive_answers(tmp_path_factory, forest):
    proposals, results, order, objective = forest
    path = tmp_path_factory.mktemp("run") / "archive.db"
    with Archive.create(path, objective=objective, run_seed=0, ranking="gains") as archive:
        archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk
        archive.commit_round([Proposal("start", None, SAME, Fidelity(1))], threads=1)
        for kind, parent, epochs in proposals:
            split = "test" if kind == "final" else "validation"
            archive.commit_round([Proposal(kind, parent, SAME, Fidelity(epochs), split)], threads=1)
        for number in order:
            status, value, cost = results[number]
            if status == "failed":
                archive.fail(number, "told to")
            elif status == "done":
                archive.finish(number, Evaluation({objective.name: value}, cost), None)
            assert_equal_to_naive(archive)
        before = [archive.merit(candidate) for candidate in archive]
    with Archive.open(path) as again:
        assert_equal_to_naive(again)
        assert [again.merit(candidate) for candidate in again] == before


def build(tmp_path, *entries, objective=SCORE):
    """An archive from (kind, parent, epochs, score) in order; a score of None is left pending."""
    archive = Archive.create(tmp_path / "archive.db", objective=objective, run_seed=0, ranking="gains")
    for number, (kind, parent, epochs, value) in enumerate(entries):
        split = "test" if kind == "final" else "validation"
        archive.commit_round([Proposal(kind, parent, SAME, Fidelity(epochs), split)], threads=1)
        if value is not None:
            archive.finish(number, Evaluation({objective.name: value}, {"multiply_adds": number}), None)
    return archive


def test_merit_adds_gains_over_controls_of_equal_epochs(tmp_path):
    with build(
        tmp_path,
        ("start", None, 4, 0.50),
        ("control", 0, 2, 0.60),
        ("control", 0, 1, 0.90),
        ("child", 0, 2, 0.75),
        ("control", 3, 1, 0.80),
        ("child", 3, 1, 0.70),
        ("final", 3, 0, 0.99),
    ) as archive:
        assert archive.control_score(0, Fidelity(2)) == 0.60
        assert archive.control_score(0, Fidelity(3)) is None
        assert archive.gain(archive[3]) == pytest.approx(0.15)
        assert archive.merit(archive[3]) == pytest.approx(0.65)
        assert archive.merit(archive[5]) == pytest.approx(0.55)
        assert [c.id for c in archive.best(9)] == [3, 5, 0]
        assert archive.merit(archive[1]) is None
        assert archive.gain(archive[6]) is None
        assert [c.id for c in archive.lineage(archive[5])] == [0, 3, 5]
        assert archive.best(0) == archive.best(-1) == ()


def test_lower_is_better_turns_scores_and_leaves_metrics(tmp_path):
    entries = ("start", None, 1, 2.0), ("control", 0, 1, 1.5), ("child", 0, 1, 1.0), ("child", 0, 1, 1.8)
    with build(tmp_path, *entries, objective=LOSS) as archive:
        assert [c.id for c in archive.best(3)] == [2, 0, 3]
        assert archive.gain(archive[2]) == 0.5
        assert archive.merit(archive[2]) == -1.5
        assert archive[2].metrics == {"loss": 1.0}


def test_an_undefined_score_is_worst_and_carries_no_merit(tmp_path):
    entries = (
        ("start", None, 1, 0.5),
        ("control", 0, 1, NAN),
        ("child", 0, 1, NAN),
        ("control", 0, 1, 0.6),
    )
    with build(tmp_path, *entries[:3]) as archive:
        assert archive.control_score(0, Fidelity(1)) is None
        assert archive.score(archive[2]) == -math.inf
        archive.commit_round([Proposal("control", 0, SAME, Fidelity(1))], threads=1)
        archive.finish(3, Evaluation({"score": 0.6}, {}), None)
        assert archive.control_score(0, Fidelity(1)) == 0.6
        assert archive.gain(archive[2]) == -math.inf
        assert archive.merit(archive[2]) is None
        assert [c.id for c in archive.best(9)] == [c.id for c in archive.pareto()] == [0]
        assert archive.noise() is None


def test_an_unknown_cost_is_suggested(tmp_path):
    archive = build(tmp_path, ("start", None, 1, 0.5))
    with archive, pytest.raises(ConfigError, match="did you mean 'multiply_adds'"):
        archive.pareto("multiply_add")
    with Archive.create(tmp_path / "empty.db", objective=SCORE, run_seed=0) as empty:
        assert empty.pareto("anything") == ()


def plain_front(points):
    def beats(one, other):
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    kept = [point for point in points if not any(beats(other, point[0]) for other, _ in points)]
    return tuple(number for _, number in sorted(kept))


@given(st.integers(1, 4).flatmap(lambda k: st.lists(st.tuples(*[st.integers(0, 5)] * k), max_size=40)))
def test_the_front_is_what_nothing_dominates(values):
    points = [(value, number) for number, value in enumerate(values)]
    assert front(points) == plain_front(points)
    layers, left = fronts(points, 10), points
    for layer in layers:
        assert layer == plain_front(left)
        left = [point for point in left if point[1] not in layer]
    assert len(left) <= max(0, len(points) - 10)
    assert sum(map(len, layers[:-1])) < 10


def test_several_objectives_are_weighed_costs_and_metrics_alike(tmp_path):
    """Merit rises with the multiply-adds; a metric counts by the merit that the rule makes of it."""
    recall_ = Tradeoff("recall", is_metric=True, higher_is_better=True)
    tradeoffs = (Tradeoff("multiply_adds"), Tradeoff("latency"), recall_)
    delay, recall = [5.0, 3.0, 4.0, 9.0], [0.2, 0.9, 0.1, 0.3]
    rewrites = [SAME, *Expand().options(SAME.child), *AddStage().options(SAME.child)]
    path = tmp_path / "a.db"
    with Archive.create(path, objective=SCORE, run_seed=0, ranking="gains", tradeoffs=tradeoffs) as archive:
        archive.commit_round([Proposal("start", None, SAME, Fidelity(1))], threads=1)
        archive.finish(0, Evaluation({"score": 0.5, "recall": 0.2}, {"multiply_adds": 1, "latency": 5.0}), None)
        children = [Proposal("child", 0, rewrite, Fidelity(1)) for rewrite in rewrites[1:4]]
        archive.commit_round([*children, Proposal("control", 0, SAME, Fidelity(1))], threads=1)
        for n in range(1, 4):
            cost = {"multiply_adds": n + 1.0, "latency": delay[n]}
            archive.finish(n, Evaluation({"score": 0.5 + n / 10, "recall": recall[n]}, cost), None)
        archive.finish(4, Evaluation({"score": 0.4, "recall": 0.3}, {}), None)
        values = [[archive.weighed(archive[n], one.name) for one in tradeoffs] for n in range(4)]
        assert [value[:2] for value in values] == [[1, 5], [2, 3], [3, 4], [4, 9]]
        assert [value[2] for value in values] == pytest.approx([-0.2, -0.8, 0.0, -0.2])
        assert [one.id for one in archive.pareto()] == [0, 1, 2, 3]
        assert [one.id for one in archive.pareto("latency")] == [1, 2, 3]
        assert [one.id for one in archive.pareto("recall")] == [1, 3]
        assert [one.id for one in archive.nearest_to_front(2)] == [3, 2]
    with Archive.read(path) as again:
        assert again.tradeoffs == tradeoffs
        assert [one.id for one in again.pareto("recall", "latency")] == [1, 3, 2]
        assert "recall" in shown(pareto_table(again))
        assert "0.800" in shown(pareto_table(again))


@pytest.mark.parametrize(
    ("pareto", "message"),
    [
        (["multiply_add"], "'multiply_add', which is neither a cost nor another metric .*did you mean 'multiply_adds'"),
        (["score"], "'score', which is neither a cost nor another metric"),
        (["latency", "latency"], "names something twice: latency, latency"),
        ([], "pareto"),
    ],
)
def test_what_cannot_be_weighed_is_refused(tmp_path, pareto, message):
    with pytest.raises(ConfigError, match=message):
        spnas_search.search(task={"name": "null"}, pareto=pareto, out=tmp_path / "run")
    assert not (tmp_path / "run" / "archive.db").exists()


def test_a_search_weighs_latency_and_draws_parents_from_the_front(tmp_path, monkeypatch):
    measured = []

    def measure(architecture, width, height, *, device, beside):
        measured.append(architecture)
        return Latency(10.0 - len(architecture.digits) / 10, 1, 20, 9)

    monkeypatch.setattr(latency, "measure_latency", measure)
    strategy = {"name": "serial", "parents": "pareto", "pool": 3}
    settings = {"task": {"name": "null"}, "executor": {"name": "inline"}, "final": {"seeds": 0}}
    weighed = ["latency", "parameters"]
    with spnas_search.search(**settings, strategy=strategy, pareto=weighed, budget=10, out=tmp_path / "run") as run:
        archive = run.archive
        nodes = [one for one in archive if one.is_node]
        assert len(nodes) == 11
        assert all(one.cost["latency"] == 10.0 - len(one.architecture.digits) / 10 for one in nodes)
        assert not any("latency" in one.cost for one in archive if not one.is_node)
        assert sorted(measured, key=str) == sorted((one.architecture for one in nodes), key=str)
        assert run.strategy.may_use(archive) == {one.id for one in archive.nearest_to_front(3)}
        assert {one.id for one in archive.pareto()} <= {one.id for one in nodes if run.weights.path(one.id).exists()}


def lines_run(question) -> int:
    """Count the archive's executed lines of Python: work, measured without a clock.

    Only its own: a collection of garbage in the middle runs finalizers of whatever was made before.
    """
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        if "spnas_search" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        question()
    finally:
        sys.settrace(before)
    return count


def test_the_archive_asks_its_indexes(tmp_path):
    def filled(count: int) -> Archive:
        archive = Archive.create(tmp_path / f"{count}.db", objective=SCORE, run_seed=0)
        archive.commit_round([Proposal("start", None, SAME, Fidelity(1))], threads=1)
        archive.commit_round([Proposal("child", 0, _deeper(n), Fidelity(1)) for n in range(2)] * count, threads=1)
        return archive

    with filled(20) as small, filled(1000) as large:

        def ask(archive: Archive) -> int:
            def questions() -> None:
                archive.contains(SAME.child)
                archive.contains(Architecture.parse("b@8_11-11"))
                archive.control_score(0, Fidelity(1))
                archive.controls(0, Fidelity(1))
                archive.best(5)
                _ = archive.start, archive.children, archive.rounds, archive[len(archive) - 1]

            questions()
            return lines_run(questions)

        assert ask(large) == ask(small)


def _deeper(extra: int) -> Rewrite:
    child = Architecture.parse(f"b@8_1{'1' * (extra + 1)}-1")
    return Rewrite(SAME.parent, child, (0, *(None,) * (extra + 1), 1))
