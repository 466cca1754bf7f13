"""Merits, ranks, noise and the Pareto front equal what a naive recomputation from scratch gives."""

import math
import statistics
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Rewrite, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Candidate, Proposal
from spnas_search.archive.pareto import front

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


def test_noise_pools_variances_by_degrees_of_freedom(tmp_path):
    entries = [("start", None, 1, 0.5)] + [("control", 0, 1, v) for v in (1.0, 3.0)]
    entries += [("control", 0, 2, v) for v in (5.0, 6.0, 7.0)]
    with build(tmp_path, *entries, ("control", 0, 3, 9.0)) as archive:
        assert archive.noise(1) == pytest.approx(math.sqrt(2))
        assert archive.noise(2) == pytest.approx(1.0)
        assert archive.noise(3) is None
        assert archive.noise() == pytest.approx(math.sqrt((2 * 1 + 1 * 2) / 3))


def test_an_unknown_cost_is_suggested(tmp_path):
    archive = build(tmp_path, ("start", None, 1, 0.5))
    with archive, pytest.raises(ConfigError, match="did you mean 'multiply_adds'"):
        archive.pareto("multiply_add")
    with Archive.create(tmp_path / "empty.db", objective=SCORE, run_seed=0) as empty:
        assert empty.pareto("anything") == ()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=25))
def test_the_front_is_what_nothing_dominates(pairs):
    points = [(cost, loss, number) for number, (cost, loss) in enumerate(pairs)]
    expected = [p for p in points if not any(q[0] <= p[0] and q[1] <= p[1] and q[:2] != p[:2] for q in points)]
    assert front(points) == tuple(number for _, _, number in sorted(expected))


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
