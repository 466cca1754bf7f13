"""Ranking rules: worked examples, and equality with a dense reference."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from dense_prediction import dense_prediction
from hypothesis import given, settings
from hypothesis import strategies as st
from ranked import KINDS, scores_of

from spnas_core.errors import ConfigError
from spnas_search.ranking import RULES, Merits, PredictedMerit, RuleName, Scores, TraitPrediction, ranking_rule
from spnas_search.ranking import descent as descent_module
from spnas_search.ranking._base import replicate_variance
from spnas_search.ranking.curves import curve_design

RULE = pytest.mark.parametrize("rule", [ranking_rule(name) for name in RULES], ids=list(RULES))


def shuffled(scores, rng):
    order = rng.permutation(len(scores.nodes))
    names = ("nodes", "ages", "groups", "values", "own", "epochs")
    return replace(scores, **{name: getattr(scores, name)[order] for name in names})


def drawn(size, shape, seed):
    """An archive of any form: several ages, groups, replicates, edges of no to three steps, nodes without a score."""
    rng = np.random.default_rng(seed)
    parent = {
        "chain": lambda node: node - 1,
        "star": lambda node: 0,
        "random": lambda node: int(rng.integers(node)),
        "deep": lambda node: int(rng.integers(max(0, node - 4), node)),
    }[shape]
    parents = [-1, *(parent(node) for node in range(1, size))]
    kinds = KINDS[: int(rng.integers(4))]
    steps = [()] + [tuple(rng.choice(kinds, int(rng.integers(4)))) if kinds else () for _ in parents[1:]]
    count = int(rng.integers(4, 2 * size + 12))
    nodes, groups = rng.integers(0, size, count), rng.integers(0, rng.integers(1, 4), count)
    ages = 4.0 * rng.integers(1, rng.choice([2, 5, 25]), count)
    quality = np.zeros(size)
    for node in range(1, size):
        quality[node] = quality[parents[node]] + rng.normal(0, 1) * rng.choice([0.1, 1, 5])
    values = 5 + 0.05 * ages + quality[nodes] + rng.normal(0, 1, count) * 10.0 ** rng.integers(-1, 2)
    first = np.zeros(count, bool)
    first[np.unique(nodes, return_index=True)[1]] = True
    return Scores(parents, tuple(steps), nodes, ages, groups, values, first, np.full(count, 4))


ARCHIVES = st.builds(
    drawn,
    st.integers(1, 60),
    st.sampled_from(["chain", "star", "random", "deep"]),
    st.integers(0, 2**32 - 1),
)


def dense(scores, **changes):
    return dense_prediction(
        scores.parents, scores.steps, scores.nodes, scores.ages, scores.groups, scores.values, **changes
    )


class TestScores:
    GOOD = scores_of([-1, 0, 1], [(0, 4, 0.5, True), (1, 8, 0.6, True)])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"parents": []}, "node 0 is the start"),
            ({"parents": [0, 0, 1]}, "node 0 is the start"),
            ({"parents": [-1, 1, 0]}, "node 1 has parent 1"),
            ({"parents": [-1, 0, -1]}, "node 2 has parent -1"),
            ({"steps": ((), ())}, "steps of 2 nodes for 3"),
            ({"steps": (("swap",), (), ())}, "the start has steps"),
            ({"nodes": [0, 3]}, "scores of nodes 0…3"),
            ({"nodes": [-1, 1]}, "scores of nodes -1…1"),
            ({"nodes": [[0, 1]]}, "nodes has shape"),
            ({"nodes": [0.5, 1.5]}, "nodes is of type float64"),
            ({"nodes": [1, 1]}, "node 1 has 2 own evaluations"),
            ({"own": [1, 0]}, "own is of type int64"),
            ({"epochs": [4]}, "differ in length"),
            ({"values": [0.5, math.nan]}, r"values\[1\] is nan"),
            ({"ages": [math.inf, 1]}, r"ages\[0\] is inf"),
        ],
    )
    def test_what_does_not_fit_together_is_refused(self, changes, message):
        with pytest.raises(ValueError, match=message):
            replace(self.GOOD, **changes)

    def test_nothing_scored_is_no_error(self):
        empty = {name: np.zeros(0, kind) for name, kind in (("nodes", int), ("values", float), ("own", bool))}
        empty |= {"ages": empty["values"], "groups": empty["nodes"], "epochs": empty["nodes"]}
        for name in RULES:
            merits = ranking_rule(name).rank(replace(self.GOOD, **empty))
            assert merits.leads[0] == merits.errors[0] == 0
            assert np.isnan(merits.errors[1:]).all()


class TestMerits:
    def test_best_first_older_first_among_equals_and_unknown_nowhere(self):
        merits = Merits(np.array([0, 0.1, np.nan, 0.1, -1]), np.zeros(5), lambda i, j: 1.0)
        assert merits.ranked == (1, 3, 0, 4)

    def test_difference_of_a_node_and_itself_is_known(self):
        merits = Merits(np.array([0, 0.1, np.nan]), np.zeros(3), lambda i, j: 1.0)
        assert merits.difference_error(1, 1) == 0
        assert merits.difference_error(0, 1) == 1
        assert math.isnan(merits.difference_error(2, 2))


def test_every_name_has_its_rule():
    assert set(get_args(RuleName)) == set(RULES)
    assert [ranking_rule(name).name for name in RULES] == list(RULES)
    with pytest.raises(ConfigError, match="did you mean 'prediction'"):
        ranking_rule("predicted")


@RULE
@given(scores=ARCHIVES, seed=st.integers(0, 99))
@settings(max_examples=30)
def test_no_bit_depends_on_the_order_of_the_scores(rule, scores, seed):
    one, other = rule.rank(scores), rule.rank(shuffled(scores, np.random.default_rng(seed)))
    pair = len(scores) - 1, len(scores) // 2
    assert one.leads.tobytes() == other.leads.tobytes()
    assert one.errors.tobytes() == other.errors.tobytes()
    assert one.ranked == other.ranked
    np.testing.assert_array_equal(one.difference_error(*pair), other.difference_error(*pair))


class TestSumOfGains:
    ROWS = (
        (0, 4, 0.4, True),
        (0, 8, 0.50, False),
        (0, 8, 0.52, False),
        (1, 8, 0.55, True),
        (2, 8, 0.51, True),
        (1, 12, 0.58, False),
        (3, 12, 0.57, True),
    )
    PARENTS = (-1, 0, 0, 1)

    def test_worked_example(self):
        merits = ranking_rule("gains").rank(scores_of(self.PARENTS, self.ROWS))
        variance = 0.0002  # of 0.50 and 0.52
        np.testing.assert_allclose(merits.leads, [0, 0.04, 0, 0.03], atol=1e-15)
        np.testing.assert_allclose(merits.errors**2, variance * np.array([0, 1.5, 1.5, 3.5]), atol=1e-18)
        assert merits.ranked == (1, 3, 0, 2)
        # Siblings share their control; a grandchild and its uncle share that of the uncle.
        assert merits.difference_error(1, 2) == pytest.approx(math.sqrt(2 * variance))
        assert merits.difference_error(2, 3) == pytest.approx(math.sqrt(4 * variance))
        assert merits.difference_error(1, 3) == pytest.approx(math.sqrt(2 * variance))
        assert merits.difference_error(0, 3) == pytest.approx(merits.errors[3])

    def test_siblings_of_other_epochs_share_nothing(self):
        rows = [*self.ROWS[:4], (2, 8, 0.51, True), (0, 8, 0.53, False)]
        scores = replace(scores_of([-1, 0, 0], rows), epochs=np.array([4, 4, 4, 4, 8, 8]))
        merits = ranking_rule("gains").rank(scores)
        assert merits.leads[2] == pytest.approx(-0.02)
        assert merits.difference_error(1, 2) == pytest.approx(math.hypot(merits.errors[1], merits.errors[2]))

    @pytest.mark.parametrize("lacking", [1, 2, 3])
    def test_unknown_while_a_control_or_score_in_the_lineage_is_missing(self, lacking):
        lacked = {1: {1, 2}, 2: {3}, 3: {5}}[lacking]  # controls of the start, the child's score, the child's control
        rows = [row for at, row in enumerate(self.ROWS) if at not in lacked]
        merits = ranking_rule("gains").rank(scores_of(self.PARENTS, rows))
        assert math.isnan(merits.leads[3])
        assert math.isnan(merits.errors[3])
        assert 3 not in merits.ranked

    def test_controls_of_another_group_do_not_count(self):
        scores = scores_of(self.PARENTS, self.ROWS)
        merits = ranking_rule("gains").rank(replace(scores, groups=np.array([0, 1, 1, 0, 0, 0, 0])))
        assert np.isnan(merits.leads[1:]).all()

    def test_without_replicates_no_error(self):
        merits = ranking_rule("gains").rank(scores_of([-1, 0], [self.ROWS[0], self.ROWS[1], self.ROWS[3]]))
        assert merits.leads[1] == pytest.approx(0.05)
        assert math.isnan(merits.errors[1])

    def test_a_childs_own_score_is_no_replicate(self):
        rows = [(0, 4, 0.5, True), (0, 4, 0.6, False), (1, 8, 0.9, True), (1, 8, 0.1, False), (1, 8, 0.2, False)]
        variances = [np.var(group, ddof=1) for group in ([0.5, 0.6], [0.1, 0.2])]
        assert replicate_variance(scores_of([-1, 0], rows)) == pytest.approx(np.mean(variances))


class TestEqualAgeLead:
    ROWS = ((0, 8, 0.50, True), (0, 8, 0.52, False), (0, 12, 0.60, False), (1, 8, 0.56, True), (1, 12, 0.63, False))

    def test_worked_example(self):
        merits = ranking_rule("lead").rank(scores_of([-1, 0], self.ROWS))
        error = math.sqrt(0.0002 * (1 / 2 + 1 / 4 / 2 + 1 / 4))
        np.testing.assert_allclose(merits.errors, [0, error])
        np.testing.assert_allclose(merits.leads, [0, 0.04 - error / 2])
        assert merits.difference_error(0, 1) == pytest.approx(error)

    @pytest.mark.parametrize(("age", "expected"), [(4, 0.51), (9, 0.5325), (11, 0.5775), (16, 0.60)])
    def test_the_start_is_interpolated_between_its_ages_and_constant_outside(self, age, expected):
        merits = ranking_rule("lead").rank(scores_of([-1, 0], [*self.ROWS[:3], (1, age, 0.7, True)]))
        assert merits.leads[1] + merits.errors[1] / 2 == pytest.approx(0.7 - expected)

    def test_the_start_cancels_between_candidates_of_the_same_age(self):
        rows = [*self.ROWS[:3], (1, 10, 0.56, True), (2, 10, 0.5, True)]
        merits = ranking_rule("lead").rank(scores_of([-1, 0, 1], rows))
        assert merits.difference_error(1, 2) == pytest.approx(math.sqrt(0.0002 * 2))

    def test_nothing_is_said_across_groups(self):
        groups = np.array([0, 0, 0, 1, 1])
        merits = ranking_rule("lead").rank(replace(scores_of([-1, 0], self.ROWS), groups=groups))
        assert math.isnan(merits.leads[1])
        assert merits.ranked == (0,)

    def test_without_replicates_nothing_is_taken_off(self):
        merits = ranking_rule("lead").rank(scores_of([-1, 0], [self.ROWS[0], self.ROWS[3]]))
        assert merits.leads[1] == pytest.approx(0.06)
        assert math.isnan(merits.errors[1])


class TestAgainstDenseMatrices:
    """Leads, errors and estimates equal those of generalised least squares on whole covariance matrices."""

    @staticmethod
    def agree(scores, pairs, rule=PredictedMerit(), **changes):  # noqa: B008 - rules keep no state
        fit = rule.fit(scores)
        if not np.isfinite(fit.noise):
            design = curve_design(scores.ages, scores.groups)
            assert len(scores.values) <= np.count_nonzero(design.precisions == 0)
            assert not fit.merits.leads.any()
            return
        expected = dense(scores, **changes)
        merits, size = fit.merits, max(expected.noise, np.abs(expected.leads).max())
        np.testing.assert_allclose(merits.leads, expected.leads, rtol=1e-8, atol=1e-8 * size)
        np.testing.assert_allclose(merits.errors, expected.errors, rtol=1e-8, atol=1e-8 * size)
        for i, j in pairs:
            assert merits.difference_errors(i)[j] == pytest.approx(merits.difference_error(i, j), 1e-8, 1e-9 * size)
            assert merits.difference_error(i, j) == pytest.approx(expected.difference_error(i, j), 1e-8, 1e-8 * size)
        assert (fit.noise, fit.ratio) == pytest.approx((expected.noise, expected.ratio), rel=1e-8)
        assert list(fit.effects) == list(expected.effects)
        for kind, effect in fit.effects.items():
            assert effect == pytest.approx(expected.effects[kind], 1e-8, 1e-8 * size)

    @given(scores=ARCHIVES, pairs=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=5))
    @settings(max_examples=80)
    def test_archives_of_any_form(self, scores, pairs):
        self.agree(scores, [(i % len(scores), j % len(scores)) for i, j in pairs])

    def test_a_lineage_of_some_hundred_generations(self):
        self.agree(drawn(300, "chain", 1), [(1, 299), (150, 151)])

    @pytest.mark.parametrize("seed", range(8))
    def test_traits(self, seed):
        scores = drawn(40, ("random", "star", "deep", "chain")[seed % 4], seed)
        traits = np.random.default_rng(seed).integers(0, 4, (40, 1 + seed % 3)).astype(float)
        self.agree(replace(scores, traits=traits), [(3, 30), (0, 7)], rule=TraitPrediction(), traits=traits)

    @pytest.mark.parametrize("seed", range(5))
    def test_curves_whose_increments_have_a_prior(self, seed, monkeypatch):
        monkeypatch.setattr("spnas_search.ranking.curves.INCREMENT_DEVIATION", 20.0)
        self.agree(drawn(50, "random", seed), [(3, 40)], increment_deviation=20.0)

    def test_a_child_that_does_not_exist_is_predicted_as_one_without_a_score(self):
        scores = drawn(40, "deep", 3)
        kinds = {name for edge in scores.steps for name in edge}
        new = [(17, ("swap",)), (17, ()), (0, ("swap", "expand", "swap")), (39, ("unseen", "unseen", "odd", "swap"))]
        assert "swap" in kinds
        grown = replace(
            scores,
            parents=np.append(scores.parents, [parent for parent, _ in new]),
            steps=(*scores.steps, *(steps for _, steps in new)),
        )
        expected = PredictedMerit().rank(grown)
        means, errors = PredictedMerit().fit(scores).predict_children(*zip(*new, strict=True))
        np.testing.assert_allclose(means, expected.leads[40:], rtol=1e-8)
        np.testing.assert_allclose(errors, expected.errors[40:], rtol=1e-8)
        traits = np.random.default_rng(0).normal(size=(44, 2))
        expected = TraitPrediction().rank(replace(grown, traits=traits))
        fit = TraitPrediction().fit(replace(scores, traits=traits[:40]))
        means, errors = fit.predict_children(*zip(*new, strict=True), traits=traits[40:])
        np.testing.assert_allclose(means, expected.leads[40:], rtol=1e-8)
        np.testing.assert_allclose(errors, expected.errors[40:], rtol=1e-8)
        with pytest.raises(ValueError, match="traits have shape"):
            fit.predict_children(*zip(*new, strict=True))


class TestPredictedMerit:
    @pytest.mark.parametrize("ratio", [0.5, 1.0])
    def test_one_child_is_shrunk_by_the_closed_form(self, ratio, monkeypatch):
        monkeypatch.setattr(descent_module, "RATIOS", np.array([ratio]))
        rows = [(0, 8, value, False) for value in (0.50, 0.52, 0.49, 0.53)]
        fit = PredictedMerit().fit(scores_of([-1, 0], [*rows, (1, 8, 0.57, True)]))
        step = ratio**2 * (1 + 1 / 4 + 4)
        apart = 0.57 - 0.51
        variance = (0.001 + apart**2 / (step + 1 + 1 / 4)) / 4
        assert fit.noise == pytest.approx(math.sqrt(variance))
        assert fit.merits.leads == pytest.approx([0, step / (step + 1.25) * apart])
        assert fit.merits.errors == pytest.approx([0, math.sqrt(variance * step * 1.25 / (step + 1.25))])
        effect, _ = fit.effects["swap"]
        assert effect == pytest.approx(fit.merits.leads[1] * (1 / 4 + 4) / (1 + 1 / 4 + 4))

    def test_where_scores_do_not_exceed_curves_nothing_is_known(self):
        scores = replace(scores_of([-1, 0], [(0, 8, 0.5, True), (1, 8, 0.6, True)]), groups=np.array([0, 1]))
        fit = PredictedMerit().fit(scores)
        assert fit.merits.leads.tolist() == [0, 0]
        assert fit.merits.errors[0] == 0
        assert math.isnan(fit.merits.errors[1])
        assert math.isnan(fit.merits.difference_error(0, 1))
        assert math.isnan(fit.noise)
        assert math.isnan(fit.ratio)
        means, errors = fit.predict_children([1], [("swap", "odd")])
        assert means.tolist() == [0]
        assert np.isnan(errors).all()

    @pytest.mark.parametrize("value", [0.1, 0.0, -3e5])
    def test_scores_without_any_difference_lead_nowhere(self, value):
        rows = [(node, age, value, age == 4) for node in range(6) for age in (4, 8)]
        fit = PredictedMerit().fit(scores_of([-1, 0, 0, 1, 2, 4], rows))
        assert fit.merits.leads.tolist() == [0] * 6
        assert fit.merits.errors.tolist() == [0] * 6
        assert fit.noise == 0

    @given(scores=ARCHIVES, scale=st.sampled_from([1e-6, 3.0, 1e5]))
    @settings(max_examples=30)
    def test_leads_have_the_unit_of_the_scores_and_no_origin(self, scores, scale):
        merits = PredictedMerit().rank(scores)
        other = PredictedMerit().rank(replace(scores, values=scale * (scores.values - 7)))
        size = np.abs(merits.leads).max() + merits.errors.max()
        np.testing.assert_allclose(other.leads / scale, merits.leads, rtol=1e-7, atol=1e-8 * size)
        np.testing.assert_allclose(other.errors / scale, merits.errors, rtol=1e-7, atol=1e-8 * size)

    def test_children_of_no_node_are_refused(self):
        fit = PredictedMerit().fit(drawn(9, "star", 0))
        with pytest.raises(ValueError, match="parents 3…9"):
            fit.predict_children([3, 9], [(), ()])
        with pytest.raises(ValueError, match="2 parents for 1 children"):
            fit.predict_children([3, 4], [()])
        assert [column.tolist() for column in fit.predict_children([], [])] == [[], []]
