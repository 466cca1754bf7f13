"""Ranking rules in simulated searches whose truth is known."""

import math

import numpy as np
from ranked import KINDS, scores_of

from spnas_search.ranking import RULES, ranking_rule


def simulate(name, seed, *, gain, children=None, evaluations=None, noise=0.012):
    """A search by a rule, on true qualities that are known.

    Every round draws two parents from the best four, and adds the controls and the ageing of the start that the rule
    needs. ``gain(rng, child)`` is the difference in quality between a child and its parent.

    Returns:
        True qualities, merits and parents.
    """
    rng, rule = np.random.default_rng(seed), ranking_rule(name)
    parents, steps, quality, ages, rows = [-1], [()], [0.0], [14], []
    controlled, aged = {0}, 18

    def score(node, age, own=False):
        curve = 0.45 * (1 - math.exp(-age / 25))
        rows.append((node, age, curve + quality[node] + rng.normal(0, noise), own))

    score(0, 14, own=True)
    for _ in range(4):
        score(0, aged)
    while len(rows) < evaluations if evaluations else len(parents) <= children:
        best = rule.rank(scores_of(parents, rows, steps)).ranked[:4]
        odds = 1 / (1 + np.arange(len(best)))
        for parent in rng.choice(best, 2, p=odds / odds.sum()).tolist():
            if rule.needs_controls and parent not in controlled:
                controlled.add(parent)
                score(parent, ages[parent] + 4)
            quality.append(quality[parent] + gain(rng, len(parents)))
            parents.append(parent)
            steps.append((KINDS[rng.integers(3)],))
            ages.append(ages[parent] + 4)
            score(len(parents) - 1, ages[-1], own=True)
        if rule.needs_ages and max(ages) > aged:
            aged += 4
            score(0, aged)
    return np.array(quality), rule.rank(scores_of(parents, rows, steps)), parents


class TestSimulatedSearches:
    def test_without_any_effect_the_winner_does_not_stand_out(self):
        found = []
        for seed in range(20):
            _, merits, _ = simulate("prediction", seed, gain=lambda *_: 0.0, children=60)
            winner = merits.ranked[0]
            found.append((merits.leads[winner] / merits.errors[winner] if winner else 0, merits.leads.mean() / 0.012))
        winners, means = np.array(found).T
        assert winners.mean() < 1
        assert (winners > 3).sum() <= 1
        assert abs(means.mean()) < 0.3

    def test_without_any_effect_summed_gains_praise_the_luckiest_lineage(self):
        noise = 0.012
        found = [simulate("gains", seed, gain=lambda *_: 0.0, children=60, noise=noise)[1] for seed in range(20)]
        assert 10 < np.mean([np.nanmax(merits.leads) / noise for merits in found]) < 20

    def test_one_true_improvement_is_found(self):
        for seed in range(10):
            quality, merits, _ = simulate("prediction", seed, gain=lambda _, child: 0.07 * (child == 20), children=40)
            winner = merits.ranked[0]
            assert quality[winner] == 0.07
            assert merits.leads[winner] > 3 * merits.errors[winner]

    def test_at_equal_evaluations_prediction_finds_better_candidates_than_controls_do(self):
        mean = {}
        for name in RULES:
            searches = [
                simulate(name, seed, gain=lambda rng, _: rng.normal(-0.005, 0.015), evaluations=40)
                for seed in range(60)
            ]
            mean[name] = np.mean([quality[merits.ranked[0]] for quality, merits, _ in searches])
        assert mean["prediction"] > mean["lead"]
        assert mean["prediction"] > mean["gains"] + 0.005
