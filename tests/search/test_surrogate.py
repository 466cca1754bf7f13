"""The surrogate: ridge regression on what codes are, and the screen that asks it."""

import numpy as np
import pytest
from filled import START, WIDE, Filled
from scipy import stats

from spnas_core import Architecture, backbone_cost
from spnas_core.morphisms import Expand, Swap, Widen, align
from spnas_core.tasks import Evaluation, Fidelity
from spnas_search.archive import Proposal
from spnas_search.screens import screen_plugin
from spnas_search.screens.surrogate import SurrogateScreen, SurrogateScreenSettings
from spnas_search.statistics import fit_ridge
from spnas_search.statistics.ridge import PENALTIES
from spnas_search.surrogate import code_features, predicted_leads
from spnas_search.testing import NullTask

SIZE = (64, 64)
TASK = NullTask(landscape="additive", landscape_seed=1)


def parse(text):
    return Architecture.parse(text)


def wandering(start, count, seed=0, most=16):
    """Different codes that a random walk of expansions, swaps and widenings meets, none of more than 16 blocks."""
    rng = np.random.default_rng(seed)
    found, code = {start: None}, start
    while len(found) < count:
        options = [one for morphism in (Expand(), Swap(), Widen()) for one in morphism.options(code)]
        code = options[int(rng.integers(len(options)))].child
        if len(code.digits) > most or code.digits.count("2") > 4:
            code = start
        found.setdefault(code)
    return list(found)


def augmented(rows, values, penalty):
    """Ridge as least squares with a row more for each coefficient: the mean is a column without one."""
    count, width = rows.shape
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    table = np.column_stack((np.ones(count), (rows - centre) / scale))
    shrinking = np.column_stack((np.zeros(width), np.sqrt(count * penalty) * np.eye(width)))
    found = np.linalg.lstsq(np.vstack((table, shrinking)), np.append(values, np.zeros(width)))[0]
    return lambda new: np.column_stack((np.ones(len(new)), (new - centre) / scale)) @ found


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(14, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 1, -2, 0]
    return rows, rows @ [1.0, -0.2, 3.0, 0.0, 0.5] + 2 + 0.4 * rng.normal(size=14)


def test_a_fit_is_that_of_least_squares_with_a_row_for_each_coefficient(measured):
    rows, values = measured
    fit = fit_ridge(rows, values)
    new = np.random.default_rng(4).normal(size=(20, 5)) * 5
    assert fit.predict(new) == pytest.approx(augmented(rows, values, fit.penalty)(new), rel=1e-9)


def test_the_penalty_is_the_one_that_predicts_each_value_best_from_the_others(measured):
    rows, values = measured
    count, centre, scale = len(rows), rows.mean(axis=0), rows.std(axis=0)
    table = np.column_stack((np.ones(count), (rows - centre) / scale))
    errors = []
    for penalty in PENALTIES:
        shrinking = np.diag([0.0] + [count * penalty] * rows.shape[1])
        left_out = 0.0
        for number in range(count):
            rest = np.arange(count) != number
            found = np.linalg.solve(table[rest].T @ table[rest] + shrinking, table[rest].T @ values[rest])
            left_out += (values[number] - table[number] @ found) ** 2
        errors.append(left_out)
    assert fit_ridge(rows, values).penalty == PENALTIES[int(np.argmin(errors))]
    assert 0 < int(np.argmin(errors)) < len(PENALTIES) - 1


def test_columns_that_do_not_vary_say_nothing_and_equal_values_are_predicted_alike():
    rows = np.column_stack((np.arange(6.0), [0.3, 0.1 + 0.2] * 3))  # which differ in the last bit alone
    new = np.array([[2.0, 100.0], [4.0, 0.3]])
    assert fit_ridge(rows, np.arange(6.0)).predict(new) == pytest.approx([2.0, 4.0], abs=1e-4)
    left, right = fit_ridge(rows, np.arange(6.0)).predict(np.array([[3.0, 0.3], [3.0, 1e6]]))
    assert left == right
    same = fit_ridge(rows, np.full(6, 0.7)).predict(new)
    assert same[0] == same[1] == pytest.approx(0.7)


def test_features_by_hand():
    code = parse("b@8_11-21-2_0-2-1")
    cost = backbone_cost(code, *SIZE)
    expected = [2, 1, 0, 0, 0, 1, 1, 0, 2, 2, 1, 0, 2, 4, 5, 5, 0, 2, 1, 0]
    costs = np.log2([cost.parameters, cost.multiply_adds, cost.activation_bytes])
    assert code_features([code, parse("b@8_1-1-1-1")], SIZE)[0] == pytest.approx([*expected, *costs])


@pytest.fixture
def archive(tmp_path):
    """Forty codes with the scores of an additive landscape, all of the same age."""
    filled = Filled(tmp_path, START, TASK.score(str(START), 4), ranking="lead")
    for code in wandering(START, 40)[1:]:
        filled.add("child", 0, align(START, code), TASK.score(str(code), 4))
    filled.archive.commit_round([Proposal("control", 0, align(START, START), Fidelity(1))], threads=1)
    filled.archive.fail(len(filled.archive) - 1, "told to")
    with filled.archive as made:
        yield made


def test_unseen_codes_of_an_additive_landscape_are_ranked_perfectly(archive):
    unseen = [code for code in wandering(START, 200, seed=9) if not archive.contains(code)]
    assert len(unseen) > 100
    truths = [TASK.score(str(code), 4) for code in unseen]
    predicted = predicted_leads(archive, unseen, SIZE)
    apart = {round(value, 6): place for place, value in enumerate(truths)}  # equal sums are no order
    places = list(apart.values())
    assert len(places) > 80
    found = stats.kendalltau(predicted[places], np.array(truths)[places])
    assert found.statistic == 1
    assert predicted == pytest.approx(np.array(truths) - TASK.score(str(START), 4), abs=1e-4)


def test_failed_and_undefined_candidates_teach_nothing(archive):
    asked = wandering(START, 60, seed=2)
    before = predicted_leads(archive, asked, SIZE)
    child = parse("b@8_1111111-21-21")
    proposals = [Proposal("child", 0, align(START, code), Fidelity(1)) for code in (child, parse("b@8_1-2-2"))]
    failed, undefined = archive.commit_round(proposals, threads=1)
    archive.fail(failed.id, "told to")
    archive.finish(undefined.id, Evaluation({"score": float("nan")}, {}), None)
    assert predicted_leads(archive, asked, SIZE).tolist() == before.tolist()


def test_with_too_few_scores_nothing_is_preferred(tmp_path):
    filled = Filled(tmp_path, ranking="lead")
    children = [option.child for option in Expand().options(START)]
    with filled.archive as archive:
        for score in (0.6, 0.7):
            assert len(set(predicted_leads(archive, children, SIZE).tolist())) == 1
            filled.child(score)
        assert len(set(predicted_leads(archive, children, SIZE).tolist())) == 1
        filled.child(0.9)
        filled.child(0.2)
        assert len(set(predicted_leads(archive, children, SIZE).tolist())) > 1
        assert predicted_leads(archive, [], SIZE).tolist() == []


def test_the_screen_prefers_by_the_predicted_lead(archive):
    screen = SurrogateScreen(SurrogateScreenSettings(), WIDE)
    children = [code for code in wandering(START, 80, seed=5) if not archive.contains(code)]
    proposals = [Proposal("child", 0, align(START, code), Fidelity(1)) for code in children]
    found = screen.preferences(archive, proposals)
    best = max(range(len(children)), key=lambda place: TASK.score(str(children[place]), 4))
    assert int(np.argmax(found)) == best
    assert screen_plugin("surrogate").build is SurrogateScreen
