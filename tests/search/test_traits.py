"""Architectures as numbers, and a ranking that learns from those that are alike."""

import numpy as np
import pytest
from filled import START, Filled

from spnas_core import Architecture
from spnas_core.morphisms import Expand, Swap, align
from spnas_core.tasks import Fidelity
from spnas_search.archive import Proposal
from spnas_search.archive.traits import Traits


def test_traits_are_blocks_doublings_and_cost():
    codes = ["b@8_11-21-21", "b@8_1-1-2-121", "b@8_11121-2"]
    known = [
        # blocks of four stages, of all, doublings by the first block of the first three, binary logarithm of the cost
        [2, 2, 2, 0, 6, 0, 1, 2, 0],
        [1, 1, 1, 3, 6, 0, 0, 1, 1],
        [5, 1, 0, 0, 6, 0, 2, 2, 3],
    ]
    traits = Traits()
    for count, code in enumerate(codes, 1):
        traits.append(Architecture.parse(code))
        assert (len(traits), traits.stages) == (count, 3 if count == 1 else 4)
    np.testing.assert_array_equal(traits.rows([1.0, 2.0, 8.0]), known)
    wider = [[*row[:4], 0, *row[4:8], doublings, row[8]] for row, doublings in zip(known, (2, 1, 2), strict=True)]
    np.testing.assert_array_equal(traits.rows([1.0, 2.0, 8.0], 5), wider)


def test_costs_of_any_size_are_traits():
    traits = Traits()
    traits.append(Architecture.parse("b@8_11-21"))
    assert traits.rows([2**100])[0, -1] == 100


def test_traits_of_many_are_those_of_each_alone():
    codes = [f"b@8_11{'1' * (i % 3)}{'-21' * (i % 6)}{'-1' * (i % 2)}" for i in range(200)]
    traits, costs = Traits(), np.random.default_rng(0).uniform(1, 9, len(codes))
    for code in codes:
        traits.append(Architecture.parse(code))
    rows = traits.rows(costs)
    for place in (0, 1, 63, 64, 65, 199):
        alone = Traits()
        alone.append(Architecture.parse(codes[place]))
        np.testing.assert_array_equal(rows[place], alone.rows(costs[place : place + 1], traits.stages)[0])


@pytest.mark.parametrize("ranking", ["traits", "prediction"])
def test_what_unrelated_children_share_counts_with_traits_alone(tmp_path, ranking):
    filled = Filled(tmp_path, ranking=ranking)
    with filled.archive as archive:
        for score in (0.5, 0.51, 0.49):
            filled.control(0, score)
        swaps, grown = list(Swap(max_step=1).options(START)), list(Expand().options(START))
        to_the_right = [option for option in swaps if len(option.child.stages[0]) > 2]
        to_the_left = [option for option in swaps if len(option.child.stages[0]) < 2]
        filled.enter([Proposal("child", 0, option, Fidelity(1)) for option in to_the_right], [0.7] * len(to_the_right))
        filled.enter([Proposal("child", 0, option, Fidelity(1)) for option in to_the_left], [0.3] * len(to_the_left))
        first, last = grown[1], grown[-1]  # one more block in the first stage, which was good, or in the last
        assert len(first.child.stages[0]) == 3
        assert len(last.child.stages[-1]) == 3
        leads, errors = archive.predict([Proposal("child", 0, option, Fidelity(1)) for option in (first, last)])
        assert leads[0] > leads[1] + 0.02
        assert np.isfinite(errors).all()
        numbers = filled.enter([Proposal("child", 0, option, Fidelity(1)) for option in (first, last)], [0.5, 0.5])
        one, other = (archive.lead(archive[number]) for number in numbers)
        assert (one > other + 1e-6) == (ranking == "traits"), "equal scores of equal kinds differ by traits alone"


@pytest.mark.parametrize("inherit", ["parent", "warm-start", "none", "supernet"])
def test_a_code_is_worth_the_same_whoever_proposes_it_where_it_takes_nothing_from_them(tmp_path, inherit):
    filled = Filled(tmp_path, ranking="traits", inherit=inherit)
    with filled.archive as archive:
        for score in (0.5, 0.51, 0.49):
            filled.control(0, score)
        good, bad = filled.round([0.7, 0.4])
        target = Architecture.parse("b@8_1112-21-2")
        ways = [Proposal("child", one, align(archive[one].architecture, target), Fidelity(1)) for one in (0, good, bad)]
        leads, errors = (found.tolist() for found in archive.predict(ways, [1e6] * len(ways)))
        has_heirs = inherit in {"parent", "warm-start"}
        assert (leads[1] > leads[2] + 0.01) == has_heirs
        assert (len(set(leads)) == len(set(errors)) == 1) != has_heirs


def test_leads_without_descent_are_those_of_a_dense_model_in_which_the_start_has_something_of_its_own(tmp_path):
    filled = Filled(tmp_path, ranking="traits", inherit="none")
    with filled.archive as archive:
        for score in (0.5, 0.51, 0.49, 0.52):
            filled.control(0, score)
        numbers = filled.round([0.7, 0.4, 0.55, 0.6])
        numbers += filled.round([0.65, 0.45], parent=numbers[0])
        nodes = [0, *numbers]
        fit = archive._standing._fitted(archive._standing._traits.stages)
        unseen = Architecture.parse("b@8_1112-21-2")
        new = Traits()
        for architecture in (*(archive[node].architecture for node in nodes), unseen):
            new.append(architecture)
        rows = new.rows([*(archive[node].cost["multiply_adds"] for node in nodes), 1e6])
        scores = [0.5, 0.7, 0.4, 0.55, 0.6, 0.65, 0.45]
        expected, qualities = np.zeros(len(rows)), []
        for ratio, weight in zip(fit.regression.ratios, fit.regression.weights, strict=True):
            changes = rows - rows[0]
            own = np.array([0.0] + [1.0] * (len(rows) - 1))
            leads = ratio**2 * (changes @ changes.T / 4 + np.diag(own) + np.outer(own, own))
            seen = np.r_[[0] * 5, 1 : len(nodes)]
            values = np.r_[scores[0], 0.5, 0.51, 0.49, 0.52, scores[1:]]
            covariance = leads[np.ix_(seen, seen)] + np.eye(len(seen))
            ones = np.ones(len(seen))
            level = ones @ np.linalg.solve(covariance, values) / (ones @ np.linalg.solve(covariance, ones))
            expected += weight * (leads[:, seen] @ np.linalg.solve(covariance, values - level))
            # The last one's quality is its lead and what the start has of its own: without what all leads share.
            quality = ratio**2 * changes[-1] @ changes[seen].T / 4
            known = np.linalg.solve(covariance, np.column_stack((quality, ones)))
            prior = ratio**2 * (changes[-1] @ changes[-1] / 4 + 1)
            variance = prior - quality @ known[:, 0] + (quality @ known[:, 1]) ** 2 / (ones @ known[:, 1])
            qualities.append((quality @ np.linalg.solve(covariance, values - level), variance))
        rewrite = align(archive.start.architecture, unseen)
        lead, error = archive.predict([Proposal("child", 0, rewrite, Fidelity(1))], [1e6])
        found = [*(archive.lead(archive[node]) for node in nodes), *lead]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
        means, variances = np.array(qualities).T
        noise, weights = fit.regression.noise * fit.regression.scale**2, fit.regression.weights
        squared = weights @ (variances * noise + (means - weights @ means) ** 2)
        np.testing.assert_allclose(error, np.sqrt(squared), rtol=1e-10)


def test_what_was_only_proposed_or_has_failed_changes_nobodys_lead(tmp_path):
    """A child of five stages among others of four."""
    filled = Filled(tmp_path, Architecture.parse("b@8_11-21-21-21"), ranking="traits", inherit="none", score=0.5)
    with filled.archive as archive:
        for sign in (1, -1, 1, -1):
            filled.control(0, 0.5 + 0.01 * sign)
        codes = ("b@8_2-2-2-2", "b@8_1-1-1-1", "b@8_11-21-21-12", "b@8_11-211-21-11")
        start = archive.start.architecture
        scored = [Proposal("child", 0, align(start, Architecture.parse(code)), Fidelity(4)) for code in codes]
        filled.enter(scored, [0.58, 0.42, 0.55, 0.49])
        before = [archive.lead(child) for child in archive.of_kind("child")]
        later = Proposal("child", 0, align(start, Architecture.parse("b@8_11-21-21-21-1")), Fidelity(4))
        (one,) = archive.commit_round([later], threads=1, phase="search")
        assert [archive.lead(child) for child in archive.of_kind("child")][:4] == before
        archive.fail(one.id, "out of memory")
        assert [archive.lead(child) for child in archive.of_kind("child")][:4] == before
        errors = archive.predict([later])[1]
        assert np.isfinite(errors).all()
