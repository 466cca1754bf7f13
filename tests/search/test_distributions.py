"""Distributions of scores, and mean agreements of orders."""

import itertools

import numpy as np
import pytest
from scipy import stats

from spnas_search.statistics import complexity_weights, gap, mean_agreement


class TestGap:
    def test_equal_samples_are_not_apart(self):
        found = gap([0.1, 0.5, 0.5, 0.9], [0.1, 0.5, 0.5, 0.9])
        assert found.distance == pytest.approx(0, abs=1e-12)
        assert found.p_value == 1

    @pytest.mark.parametrize("shift", [0.1, 0.25, 0.7])
    def test_a_shifted_uniform_sample_is_apart_by_its_shift(self, shift):
        uniform = np.arange(1000) / 1000
        assert gap(uniform, uniform + shift, permutations=1).distance == pytest.approx(shift, abs=2e-3)

    def test_it_is_the_distance_of_scipy(self):
        rng = np.random.default_rng(0)
        for _ in range(50):
            ones = rng.integers(0, 12, rng.integers(1, 30)) / 12  # with ties
            others = rng.integers(0, 12, rng.integers(1, 30)) / 12
            theirs = stats.ks_2samp(ones, others).statistic
            assert gap(ones, others, permutations=1).distance == pytest.approx(theirs)

    def test_its_probability_is_that_of_an_exact_test(self):
        rng = np.random.default_rng(1)
        ones, others = rng.normal(size=30), rng.normal(0.6, 1, size=40)
        exact = stats.ks_2samp(ones, others, method="exact").pvalue
        assert gap(ones, others, permutations=4000).p_value == pytest.approx(exact, abs=0.015)

    def test_scores_that_follow_from_the_cost_differ_before_weighing_and_not_behind_it(self):
        rng = np.random.default_rng(2)
        cheap, dear = np.exp(rng.uniform(0, 2, 150)), np.exp(2 * np.sqrt(rng.uniform(0, 1, 150)))

        def scores(costs):
            return np.log(costs) + rng.normal(0, 0.05, len(costs))

        ones, others = scores(cheap), scores(dear)
        raw, weighed = gap(ones, others), gap(ones, others, (cheap, dear))
        assert raw.distance > 0.2
        assert raw.p_value < 0.01
        assert weighed.distance < 0.1
        assert weighed.p_value > 0.1

    def test_weighing_leaves_what_cost_does_not_explain(self):
        rng = np.random.default_rng(3)
        costs = np.exp(rng.uniform(0, 2, 150)), np.exp(rng.uniform(0.5, 2.5, 150))
        ones, others = (np.log(one) + rng.normal(0, 0.1, 150) for one in costs)
        assert gap(ones, others + 0.3, costs).p_value < 0.01

    def test_it_is_tested_among_codes_of_like_cost(self):
        rng = np.random.default_rng(5)
        costs = np.exp(rng.uniform(0, 4, 400)), np.exp(rng.uniform(0, 4, 400))
        ones, others = (np.log(one) + rng.normal(0, 0.02, 400) for one in costs)
        assert gap(ones, others + 0.2, costs).p_value < 0.01  # little beside what costs make of scores
        assert gap(ones, others + 0.2).p_value > 0.05

    def test_samples_without_a_common_complexity_have_no_distance(self):
        assert gap([1, 2], [3, 4], ([1, 2], [3, 4])) is None

    def test_probabilities_are_even_where_nothing_differs(self):
        rng = np.random.default_rng(4)
        found = []
        for seed in range(150):
            costs = np.exp(rng.uniform(0, 1, 25)), np.exp(rng.uniform(0.2, 1.2, 25))
            scores = [np.log(one) + rng.normal(0, 0.3, 25) for one in costs]
            found.append(gap(*scores, costs, bins=4, permutations=99, seed=seed).p_value)
        assert 0.3 < np.mean(np.array(found) <= 0.5) < 0.7
        assert np.mean(np.array(found) <= 0.05) < 0.11


class TestComplexityWeights:
    def test_the_example(self):
        first, second = complexity_weights([[1, 2, 4], [2, 2, 4]], bins=2)
        assert first == pytest.approx([0, 1 / 2, 1 / 2])
        assert second == pytest.approx([1 / 4, 1 / 4, 1 / 2])

    def test_they_sum_to_one_and_make_the_parts_even(self):
        rng = np.random.default_rng(0)
        samples = [np.exp(rng.normal(mean, 1, 300)) for mean in (0, 0.5, 1)]
        weights = complexity_weights(samples, bins=5)
        low, high = max(map(min, samples)), min(map(max, samples))
        edges = np.geomspace(low, high, 6)
        histograms = []
        for sample, weight in zip(samples, weights, strict=True):
            assert weight.sum() == pytest.approx(1)
            inside = np.clip(sample, edges[0], edges[-1])
            histograms.append(np.histogram(np.log(inside[weight > 0]), np.log(edges), weights=weight[weight > 0])[0])
        for histogram in histograms:
            assert histogram == pytest.approx(histograms[0])
            assert set(np.round(histogram, 9)) <= {0.0, round(max(histogram), 9)}

    def test_one_common_complexity_is_enough(self):
        first, second = complexity_weights([[1, 2], [2, 3]])
        assert first == pytest.approx([0, 1])
        assert second == pytest.approx([1, 0])


class TestMeanAgreement:
    def test_an_order_agrees_with_itself(self):
        found = mean_agreement([([1, 2, 3], [10, 20, 30]), ([3, 1, 2, 5], [3, 1, 2, 5])])
        assert found.tau.mean == 1
        assert found.codes == 7

    def test_it_is_the_mean_of_scipys_tau_b(self):
        rng = np.random.default_rng(0)
        groups = [(rng.integers(0, 5, 8).astype(float), rng.integers(0, 5, 8).astype(float)) for _ in range(10)]
        theirs = [stats.kendalltau(ones, others).statistic for ones, others in groups]
        assert mean_agreement(groups, permutations=1).tau.mean == pytest.approx(np.mean(theirs))

    def test_its_probability_is_that_of_all_orders(self):
        groups = [([1, 2, 3, 4], [1, 2, 4, 3]), ([1, 2, 3], [2, 1, 3])]
        observed = np.mean([stats.kendalltau(*group).statistic for group in groups])
        taus = [
            [stats.kendalltau(ones, order).statistic for order in itertools.permutations(others)]
            for ones, others in groups
        ]
        means = [np.mean(pair) for pair in itertools.product(*taus)]
        exact = np.mean([mean >= observed - 1e-12 for mean in means])
        assert mean_agreement(groups, permutations=20000).p_value == pytest.approx(exact, abs=0.01)

    def test_groups_without_an_order_do_not_count(self):
        assert mean_agreement([([1], [2]), ([1, 1], [1, 2]), ([], [])]) is None
        assert mean_agreement([([1, 1], [1, 2]), ([1, 2], [1, 2])]).codes == 2
