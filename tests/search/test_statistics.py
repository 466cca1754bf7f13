"""Shares of variance and correlations of ranks: against published numbers, scipy, and simulations of known truth."""

import math
import random
import tracemalloc
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spnas_search.statistics import (
    FEWEST_FOR_INTERVAL,
    correlation,
    expected_rank_correlation,
    heritability,
    heritability_in_blocks,
    rank_correlation,
    rank_correlation_within,
)

# Shrout and Fleiss, "Intraclass correlations: uses in assessing rater reliability", Psychological Bulletin 1979.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
GROUPS = st.lists(st.lists(st.integers(-50, 50), min_size=1, max_size=4), min_size=2, max_size=8)


def simulated(rng, codes: int, trainings: int, share: float, shared: float = 0.0) -> np.ndarray:
    """Scores whose heritability is ``share``; each repetition adds something of variance ``shared`` to all."""
    code = rng.normal(scale=math.sqrt(share), size=(codes, 1))
    repetition = rng.normal(scale=math.sqrt(shared), size=(1, trainings))
    return 0.5 + code + repetition + rng.normal(scale=math.sqrt(1 - share), size=(codes, trainings))


class TestHeritability:
    def test_the_documented_example(self):
        found = heritability([[1, 3], [5, 7]])
        assert (found.within, found.between, found.share) == pytest.approx((2, 7, 7 / 9))

    def test_published_numbers_of_independent_scores(self):
        found = heritability(SHROUT_FLEISS)
        assert found.share == pytest.approx(0.166, abs=5e-4)  # ICC(1, 1)
        assert found.of_mean(4) == pytest.approx(0.443, abs=5e-4)  # ICC(1, k)
        assert (found.low, found.high) == pytest.approx((0.0, 0.723), abs=5e-4)  # published: -0.133, which no share is

    def test_published_numbers_of_scores_in_blocks(self):
        found = heritability_in_blocks(SHROUT_FLEISS)
        assert found.share == pytest.approx(0.715, abs=5e-4)  # ICC(3, 1)
        assert found.of_mean(4) == pytest.approx(0.909, abs=5e-4)  # ICC(3, k)
        assert (found.low, found.high) == pytest.approx((0.342, 0.946), abs=5e-4)

    @given(GROUPS.filter(lambda groups: any(len(set(group)) > 1 for group in groups)))
    def test_the_test_is_that_of_scipy(self, groups):
        found = heritability(groups)
        ratio, p_value = stats.f_oneway(*groups)
        assert found.p_value == pytest.approx(p_value, abs=1e-9)
        assert (found.between * found.per_code + found.within) / found.within == pytest.approx(
            ratio, rel=1e-6, abs=1e-9
        )

    @given(
        GROUPS.filter(lambda groups: any(len(set(group)) > 1 for group in groups)),
        st.floats(-9, 9),
        st.sampled_from([1e-6, 3, 1e6]),
    )
    def test_shift_and_scale_change_no_share(self, groups, shift, scale):
        found = heritability(groups)
        moved = heritability([[scale * (score + shift) for score in group] for group in groups])
        for name in ("share", "low", "high", "p_value"):
            assert getattr(moved, name) == pytest.approx(getattr(found, name), rel=1e-5, abs=1e-7)
        assert moved.within == pytest.approx(scale**2 * found.within, rel=1e-5)

    def test_unequal_numbers_are_unbiased(self):
        rng, sizes = np.random.default_rng(3), (2, 3, 3, 5, 8, 1)
        estimates = []
        for _ in range(4000):
            luck = [rng.normal(scale=2, size=size) for size in sizes]
            estimates.append(heritability([(rng.normal() + part).tolist() for part in luck]))
        # Standard errors of the means are about 0.03 and 0.02.
        assert fmean(one.between for one in estimates) == pytest.approx(1, abs=0.12)
        assert fmean(one.within for one in estimates) == pytest.approx(4, abs=0.1)

    def test_equal_numbers_are_their_own_n0(self):
        assert heritability([[1.0, 2.0, 4.0]] * 5).per_code == pytest.approx(3)
        unequal = heritability([[1.0], [2.0, 3.0], [2.0, 3.0, 5.0]]).per_code
        assert unequal == pytest.approx((6 - 14 / 6) / 2)

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
    def test_the_interval_covers_the_truth(self, share):
        rng = np.random.default_rng(1)
        found = [heritability(simulated(rng, 12, 3, share).tolist()) for _ in range(1000)]
        covers = sum(one.low <= share <= one.high for one in found)
        # A share of 0 is covered by every interval that is cut there, too: 975 of 1000 would be.
        assert 930 <= covers <= (990 if share == 0 else 970), covers
        if share == 0:
            assert 30 <= sum(one.p_value < 0.05 for one in found) <= 70

    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_the_interval_in_blocks_covers_the_truth_whatever_a_repetition_adds(self, share):
        rng = np.random.default_rng(2)
        found = [heritability_in_blocks(simulated(rng, 12, 3, share, shared=4).tolist()) for _ in range(1000)]
        assert 930 <= sum(one.low <= share <= one.high for one in found) <= 970
        # What a block adds would pass for luck if it were not taken out.
        assert fmean(one.within for one in found) == pytest.approx(1 - share, rel=0.05)

    @given(
        st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=2, max_size=6),
        st.lists(st.integers(-1000, 1000), min_size=3, max_size=3),
    )
    def test_what_a_repetition_adds_changes_nothing_in_blocks(self, groups, added):
        one = heritability_in_blocks(groups)
        other = heritability_in_blocks([[a + b for a, b in zip(group, added, strict=True)] for group in groups])
        assert (other.within, other.between) == pytest.approx((one.within, one.between), abs=1e-8)

    def test_codes_that_differ_less_than_luck(self):
        found = heritability([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        assert found.between == pytest.approx(-0.25)
        assert found.between_clipped == found.share == found.low == 0

    @pytest.mark.parametrize("analyse", [heritability, heritability_in_blocks])
    def test_scores_without_luck(self, analyse):
        found = analyse([[0.1] * 3, [0.1 + 0.2] * 3, [0.7] * 3])
        assert (found.within, found.share, found.low, found.high, found.p_value) == (0, 1, 1, 1, 0)

    @pytest.mark.parametrize("analyse", [heritability, heritability_in_blocks])
    def test_equal_scores_tell_nothing(self, analyse):
        found = analyse([[0.1] * 3, [0.1] * 3])
        assert found.within == found.between == 0
        assert all(map(math.isnan, (found.share, found.low, found.high, found.p_value)))

    @pytest.mark.parametrize(
        ("analyse", "groups", "message"),
        [
            (heritability, [[1.0, 2.0]], "1 codes with 2 scores: heritability needs 2 codes"),
            (heritability, [[1.0], [2.0]], "one of them with 2 scores"),
            (heritability, [[1.0, 2.0], []], "code 1 of 2 has no score"),
            (heritability, [[1.0, math.nan], [2.0]], "code 0 has the score nan"),
            (heritability, [], "0 codes"),
            (heritability_in_blocks, [[1.0], [2.0]], "2 codes with 1 repetitions"),
            (heritability_in_blocks, [[1.0, 2.0], [2.0]], "a score of every repetition"),
            (heritability_in_blocks, [], "0 codes"),
        ],
    )
    def test_refusals(self, analyse, groups, message):
        with pytest.raises(ValueError, match=message):
            analyse(groups)


class TestRankCorrelation:
    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12))
    def test_values_are_those_of_scipy(self, pairs):
        ones, others = zip(*pairs, strict=True)
        if len(set(ones)) == 1 or len(set(others)) == 1:
            assert math.isnan(rank_correlation([(ones, others)], resamples=5).value)
            return
        for statistic, peer in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
            found = rank_correlation([(ones, others)], statistic, resamples=5)
            assert found.value == pytest.approx(peer(ones, others).statistic, abs=1e-12)

    @pytest.mark.parametrize(("statistic", "peer"), [("spearman", stats.spearmanr), ("kendall", stats.kendalltau)])
    def test_the_interval_is_the_bootstrap_done_by_hand(self, statistic, peer):
        rng = np.random.default_rng(5)
        ones, others = rng.normal(size=7), rng.normal(size=7)
        drawn = np.random.default_rng(11).multinomial(7, np.full(7, 1 / 7), size=200)
        codes = [np.repeat(np.arange(7), counts) for counts in drawn]
        by_hand = [peer(ones[chosen], others[chosen]).statistic for chosen in codes if len(set(chosen)) > 1]
        found = rank_correlation([(ones.tolist(), others.tolist())], statistic, resamples=200, seed=11)
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])), abs=1e-12)

    def test_several_pairs_give_the_mean(self):
        truth = [1.0, 2.0, 3.0, 4.0]
        found = rank_correlation([(truth, truth), (truth[::-1], truth)])
        assert found.value == 0

    def test_a_pair_without_an_order_is_left_out(self):
        rng = np.random.default_rng(2)
        ones, others, same = rng.normal(size=8).tolist(), rng.normal(size=8).tolist(), [0.0] * 8
        alone = rank_correlation([(ones, others)])
        for pairs in ([(ones, others), (same, others)], [(ones, same), (ones, others)]):
            beside = rank_correlation(pairs)
            assert (beside.value, beside.pairs) == (alone.value, 1)
            assert (beside.low, beside.high) == (alone.low, alone.high)
        assert rank_correlation([(same, others), (ones, same)]).pairs == 0

    def test_the_seed_decides_the_interval(self):
        rng = random.Random(0)
        pair = [(([rng.random() for _ in range(9)]), [rng.random() for _ in range(9)])]
        assert rank_correlation(pair, seed=1) == rank_correlation(pair, seed=1)
        assert rank_correlation(pair, seed=1).low != rank_correlation(pair, seed=2).low

    @pytest.mark.parametrize("codes", [FEWEST_FOR_INTERVAL, 12])
    @pytest.mark.parametrize("statistic", ["spearman", "kendall"])
    def test_the_interval_covers_the_truth(self, statistic, codes):
        rng, true = np.random.default_rng(4), 0.5
        pearson = 2 * math.sin(math.pi * true / 6) if statistic == "spearman" else math.sin(math.pi * true / 2)
        covers = 0
        for number in range(300):
            ones = rng.normal(size=codes)
            others = pearson * ones + math.sqrt(1 - pearson**2) * rng.normal(size=codes)
            found = rank_correlation([(ones.tolist(), others.tolist())], statistic, resamples=400, seed=number)
            covers += found.low <= true <= found.high
        assert 270 <= covers <= 297, covers  # documented: 94 to 99 of 100

    @pytest.mark.parametrize("statistic", ["spearman", "kendall"])
    def test_what_says_nothing_of_chance_has_no_interval(self, statistic):
        rng = np.random.default_rng(3)
        five = rank_correlation([(rng.normal(size=5).tolist(), rng.normal(size=5).tolist())], statistic)
        perfect = rank_correlation([(list(range(12)), list(range(12)))], statistic)
        six = rank_correlation([(rng.normal(size=6).tolist(), rng.normal(size=6).tolist())], statistic)
        assert all(math.isnan(end) for found in (five, perfect) for end in (found.low, found.high))
        assert perfect.value == 1
        assert six.low < six.high

    @pytest.mark.parametrize("codes", [3, 5, 12])
    @pytest.mark.parametrize(("statistic", "peer"), [("spearman", stats.spearmanr), ("kendall", stats.kendalltau)])
    def test_what_normal_scores_would_have(self, statistic, peer, codes):
        rng, draws = np.random.default_rng(7), 3000
        ones = rng.normal(size=(draws, codes))
        others = 0.8 * ones + 0.6 * rng.normal(size=(draws, codes))
        found = np.array([peer(*pair).statistic for pair in zip(ones, others, strict=True)])
        error = found.std() / math.sqrt(draws)
        assert expected_rank_correlation(0.8, codes, statistic) == pytest.approx(found.mean(), abs=4 * error)
        ends = [expected_rank_correlation(value, codes, statistic) for value in (-1, 0, 0.5, 1)]
        assert (ends[0], ends[1], ends[-1]) == pytest.approx((-1, 0, 1))
        assert all(low < high for low, high in pairwise(ends))

    def test_within_one_group_it_is_scipys(self):
        rng = np.random.default_rng(8)
        ones, others = rng.integers(0, 9, 14).tolist(), rng.normal(size=14).tolist()
        found, peer = rank_correlation_within([(ones, others)]), stats.spearmanr(ones, others)
        assert found.value == pytest.approx(peer.statistic)
        assert found.p_value == pytest.approx(peer.pvalue, abs=0.02)

    def test_groups_are_compared_within_themselves(self):
        perfect = rank_correlation_within(
            [([1, 2, 3], [0.1, 0.2, 0.3]), ([11, 12, 13], [0.02, 0.03, 0.04]), ([7], [9])]
        )
        assert (perfect.value, perfect.codes) == (pytest.approx(1), 6)
        # By hand: ranks above their means are -1 0 1 and -1 0 1 on one side, -1 0 1 and 0 -1 1 on the other.
        found = rank_correlation_within([([1, 2, 3], [4, 5, 6]), ([1, 2, 3], [5, 4, 6])])
        assert found.value == pytest.approx(3 / 4)
        # Of 36 orders those of the products ±4 (1 each), ±3 (4 each) are as far: 10.
        assert found.p_value == pytest.approx(10 / 36)

    @pytest.mark.parametrize(
        ("groups", "exact"),
        [
            ([([1, 2], [3, 4])] * 5, 2 / 32),
            ([([1, 2], [3, 4])] * 7 + [([1, 2], [4, 3])], 2 * (1 + 8) / 256),
            ([([1, 2, 3, 4, 5], [2, 3, 5, 7, 9])], 2 / 120),
            ([([1, 1, 2], [5, 6, 7]), ([1, 2], [3, 3]), ([1, 2], [3, 4])], 2 / 6),
        ],
    )
    def test_of_few_codes_chance_is_counted(self, groups, exact):
        assert rank_correlation_within(groups).p_value == pytest.approx(exact)

    def test_drawn_orders_say_what_all_would(self, monkeypatch):
        rng = np.random.default_rng(3)
        groups = [(rng.normal(size=4).tolist(), rng.normal(size=4).tolist()) for _ in range(2)]
        exact = rank_correlation_within(groups).p_value
        monkeypatch.setattr("spnas_search.statistics.correlation.PERMUTATIONS", 500)
        assert rank_correlation_within(groups).p_value == pytest.approx(exact, abs=0.09)
        perfect = [(list(range(12)), list(range(12)))]
        assert rank_correlation_within(perfect).p_value == pytest.approx(1 / 501)

    def test_within_groups_chance_is_found_as_often_as_it_says(self):
        rng, found = np.random.default_rng(9), 0
        for _ in range(600):
            groups = [(rng.normal(size=size).tolist(), (rng.normal(size=size) + size).tolist()) for size in (3, 5, 6)]
            found += rank_correlation_within(groups).p_value < 0.1
        assert 36 <= found <= 84, found  # 60 expected, three standard deviations of 7.3

    @pytest.mark.parametrize(
        "groups", [[], [([1.0], [2.0])] * 5, [([1, 2], [3, 4])], [([1, 1, 1], [1, 2, 3]), ([2, 2], [3, 1])]]
    )
    def test_groups_without_an_order_say_nothing(self, groups):
        assert rank_correlation_within(groups) is None

    @pytest.mark.parametrize(
        ("pairs", "message"),
        [
            ([], "at least one pair"),
            ([([1.0, 2.0], [1.0, 2.0])], "three codes or more, not 2"),
            ([([1.0, 2.0, 3.0], [1.0, 2.0])], "of the same 3 codes: found 3 and 2"),
            ([([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), ([1.0] * 4, [2.0] * 4)], "of the same 3 codes"),
            ([([1.0, 2.0, math.inf], [1.0, 2.0, 3.0])], "not finite"),
        ],
    )
    def test_refusals(self, pairs, message):
        with pytest.raises(ValueError, match=message):
            rank_correlation(pairs)


class TestManyScores:
    def test_ranks_are_scipys_ties_included(self):
        scores = np.random.default_rng(0).integers(0, 30, 200).astype(float)
        ranks = stats.rankdata(scores)
        np.testing.assert_allclose(correlation._above_mean(scores), ranks - ranks.mean())

    def test_memory_does_not_grow_with_the_square_of_their_number(self, monkeypatch):
        """6 000 of one group: matrices of all pairs would take 600 MB, all orders at once 96 MB."""
        monkeypatch.setattr(correlation, "PERMUTATIONS", 1_000)
        x = np.random.default_rng(0).normal(size=(2, 6_000))
        tracemalloc.start()
        try:
            found = rank_correlation_within([(x[0], x[1])])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert abs(found.value) < 0.1
        assert peak < 60e6

    def test_blocks_draw_the_orders_that_a_whole_would(self, monkeypatch):
        x = np.random.default_rng(1).normal(size=(2, 40))
        whole = rank_correlation_within([(x[0], x[1] + 0.3 * x[0])])
        monkeypatch.setattr(correlation, "AT_ONCE", 90)
        assert rank_correlation_within([(x[0], x[1] + 0.3 * x[0])]) == whole
