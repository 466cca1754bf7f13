"""Screens that look at codes: the entropy of untrained features, and the partial order."""

import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from filled import START, WIDE, Filled

from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.blocks import PROJECTION
from spnas_core.morphisms import Expand, Swap, align
from spnas_core.networks.layout import block_placements
from spnas_core.stems import stem_spec
from spnas_core.tasks import Fidelity
from spnas_core.testing import random_architecture
from spnas_search.archive import Proposal, Tradeoff
from spnas_search.screens import partial_order, screen_plugin
from spnas_search.screens.entropy import EntropyScreen, EntropyScreenSettings, entropy_score, stage_entropies
from spnas_search.screens.partial_order import PartialOrderScreen, PartialOrderScreenSettings, precedes
from spnas_search.testing import NullTask

ENTROPIES = {
    "b_11-21-21-21": (484.6169, (19.3663, 33.8114, 49.6428, 66.8604)),
    "r_111-2111-211111-211": (1174.2983, (31.4375, 68.0633, 129.0670, 162.8613)),
    "x32x4d_111-2111-211111-211": (1053.6907, (28.3183, 60.7852, 115.5506, 146.2258)),
    "b@8_11-21-21-21": (347.3737, (13.1280, 23.4142, 35.0867, 48.1455)),
    "b@8_111-2-1212-11": (421.4566, (17.4047, 22.7210, 46.0660, 58.7782)),
}
"""Computed by the analytic form of MAE-DET on the layers of each code."""


def parse(text):
    return Architecture.parse(text)


def proposal(child, parent=START):
    return Proposal("child", 0, align(parent, child), Fidelity(1))


# Entropy


@pytest.mark.parametrize("code", ENTROPIES)
def test_entropies_are_those_of_the_published_form(code):
    score, stages = ENTROPIES[code]
    assert entropy_score(parse(code)) == pytest.approx(score, abs=1e-4)
    assert stage_entropies(parse(code)) == pytest.approx(stages, abs=1e-4)


def test_an_entropy_by_hand():
    """Stem 7×7 on 3 channels, then 3×3 and 3×3 on 4; the projection of a later stage does not count."""
    first = math.log(3 * 49) / 2 + 2 * math.log(4 * 9) / 2
    second = first + math.log(4 * 9) / 2 + math.log(8 * 9) / 2
    assert stage_entropies(parse("b@4_1-2")) == pytest.approx([first + math.log(4), second + math.log(8)])
    assert entropy_score(parse("b@4_1-2")) == pytest.approx(6 * (second + math.log(8)))


@pytest.fixture(scope="module")
def codes():
    rng = np.random.default_rng(2)
    return [code for code in (random_architecture(rng) for _ in range(60)) if not code.rows]


def entropy_of_a_block(code, index):
    """Half the logarithm of c_in · k² per group over a block's layers, its projection left out."""
    block = block_placements(code)[index]
    return sum(
        math.log(layer.in_channels / layer.groups * layer.kernel**2) / 2
        for layer in block.layers
        if layer.name != PROJECTION
    )


def test_a_block_more_adds_its_own_entropy_to_its_stage_and_all_behind_it(codes):
    for code in codes:
        before = stage_entropies(code)
        for option in Expand().options(code):
            after, new = stage_entropies(option.child), option.block_map.index(None)
            stage = sum(new >= border for border in option.child.borders)
            added = [late - early for early, late in zip(before, after, strict=True)]
            own = entropy_of_a_block(option.child, new)
            assert own > 0
            assert added == pytest.approx([0.0] * stage + [own] * (len(added) - stage), abs=1e-9)


def test_a_swap_only_moves_where_the_entropy_is_read(codes):
    for code in codes:
        blocks = stage_entropies(code.with_stages(tuple(code.digits)))  # every block a stage of its own
        for option in Swap().options(code):
            ends = [*option.child.borders, len(option.child.digits)]
            assert stage_entropies(option.child) == pytest.approx([blocks[end - 1] for end in ends])


def test_a_wider_base_adds_half_its_logarithm_per_layer_and_once_for_the_channels():
    for text in ("b@8_111-2-1212-11", "r@16_11-21-211", "b@8+deep_11-21"):
        code = parse(text)
        wider = Architecture(code.block, code.stages, 3 * code.base, code.stem)
        of_stem = len(stem_spec(code.stem).layers(code.base)) - 1  # its first layer reads the image
        per_block = len([layer for layer in block_placements(code)[0].layers if layer.name != PROJECTION])
        ends = [*code.borders, len(code.digits)]
        expected = [(of_stem + per_block * end) * math.log(3) / 2 + math.log(3) for end in ends]
        found = np.subtract(stage_entropies(wider), stage_entropies(code))
        assert found == pytest.approx(expected)


def test_deeper_children_are_preferred(tmp_path):
    filled = Filled(tmp_path)
    children = [option.child for option in Expand().options(START)]
    deep = Expand().options(children[0])[0].child
    with filled.archive as archive:
        screen = EntropyScreen(EntropyScreenSettings(), WIDE)
        found = screen.preferences(archive, [proposal(START), proposal(children[0]), proposal(deep)])
    assert found[0] < found[1] < found[2]


# The partial order


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("b_1-2-2", "b_11-2-21", True),
        ("b_1-2-2", "b_1-2-2", True),
        ("b_11-2-2", "b_1-2-2", False),
        ("b_1-2-2", "b_1-21-1", False),
        ("b_1-21-1", "b_1-2-2", False),
        ("b_1-11-1", "b_1-21-1", True),
        ("b_12-1", "b_21-1", True),
        ("b_21-1", "b_12-1", False),
        ("b_1-2", "b_1-2-1", False),
        ("b@32_1-2", "b_1-2", True),
        ("b_1-2", "r_1-2", False),
        ("b_1-2", "b+deep_1-2", False),
        ("b_1-2", "b_1-2_0-1", False),
    ],
)
def test_what_precedes_what(one, other, expected):
    assert precedes(parse(one), parse(other)) is expected


def test_the_order_implies_the_order_of_all_costs_and_is_transitive():
    rng = np.random.default_rng(0)
    codes = [random_architecture(rng) for _ in range(300)]
    codes = [code for code in codes if not code.rows]
    codes += [option.child for code in codes[:60] for option in Expand().options(code)[:2]]
    ordered = [(one, other) for one in codes for other in codes if one != other and precedes(one, other)]
    assert len(ordered) > 100
    for one, other in ordered:
        small, large = (backbone_cost(code, 64, 64).as_dict() for code in (one, other))
        assert all(small[name] <= large[name] for name in small), (str(one), str(other))
    above = {}
    for one, other in ordered:
        above.setdefault(one, set()).add(other)
    assert all(above.get(other, set()) <= {*above[one], one} for one, other in ordered)


def ruled_out(archive, *codes, **settings):
    screen = PartialOrderScreen(PartialOrderScreenSettings(**settings), SearchSpace(image_size=(64, 64)))
    return [value == 0 for value in screen.preferences(archive, [proposal(parse(code)) for code in codes])]


@pytest.fixture
def archive(tmp_path):
    """A deep network is no better than a cheap one; the scores of equal networks differ by 0.01."""
    filled = Filled(tmp_path, parse("b@8_11-21-21"), score=0.5, ranking="prediction")
    for score in (0.49, 0.51, 0.5, 0.5):
        filled.control(0, score)
    for code, score in (("b@8_111111-2111-211", 0.5), ("b@8_11-2-2111", 0.9)):
        filled.add("child", 0, align(parse("b@8_11-21-21"), parse(code)), score)
    with filled.archive as archive:
        yield archive


def test_what_lies_below_a_worse_and_above_a_cheaper_network_is_left_out(archive):
    below, beside = "b@8_11111-2111-211", "b@8_11-2-21111"
    assert precedes(parse(below), archive[5].architecture)
    assert not precedes(parse(beside), archive[5].architecture)
    assert (
        backbone_cost(archive[6].architecture, 64, 64).multiply_adds < backbone_cost(parse(below), 64, 64).multiply_adds
    )
    assert ruled_out(archive, below, beside) == [True, False]


def test_what_is_cheaper_than_everything_better_stays(archive):
    assert ruled_out(archive, "b@8_1-2-2") == [False]


def test_what_may_be_better_in_another_tradeoff_stays(archive):
    child, cheap = parse("b@8_11111-2111-211"), archive[6].architecture
    own, other = (backbone_cost(code, 64, 64).as_dict() for code in (child, cheap))
    assert other["multiply_adds"] < own["multiply_adds"]
    assert other["parameters"] > own["parameters"]
    for names, expected in (
        (["multiply_adds"], True),
        (["parameters"], False),
        (["multiply_adds", "parameters"], False),
        (["multiply_adds", "latency"], False),
    ):
        archive.tradeoffs = tuple(map(Tradeoff, names))
        assert ruled_out(archive, str(child)) == [expected]


def test_within_the_error_nothing_is_ruled_out(archive):
    assert ruled_out(archive, "b@8_11111-2111-211", margin=1000.0) == [False]


def test_the_best_is_never_ruled_out_where_the_order_holds(tmp_path):
    """Quality grows with every block: of all children those that are deepest for their cost stay."""
    filled = Filled(tmp_path, parse("b@8_1-2-2"), score=0.1, ranking="prediction")
    rng = np.random.default_rng(1)
    quality = lambda code: 0.05 * sum(len(stage) ** 0.5 * (place + 1) for place, stage in enumerate(code.stages))  # noqa: E731
    for _ in range(4):
        filled.control(0, 0.1 + 0.001 * rng.normal())
    archive = filled.archive
    for _ in range(30):
        parents = [archive.start, *archive.of_kind("child")]
        parent = parents[int(rng.integers(len(parents)))]
        options = [one for one in Expand().options(parent.architecture) if not archive.contains(one.child)]
        if options:
            option = options[int(rng.integers(len(options)))]
            filled.add("child", parent.id, option, quality(option.child))
    front = archive.pareto()
    for candidate in front:
        others = SimpleNamespace(
            best=lambda count, gone=candidate: tuple(one for one in archive.best(count) if one is not gone),
            lead=archive.lead,
            difference_error=archive.difference_error,
            tradeoffs=archive.tradeoffs,
            __len__=lambda: len(archive),
        )
        screen = PartialOrderScreen(PartialOrderScreenSettings(), SearchSpace(image_size=(64, 64)))
        trained = others.best(len(archive))
        costs = {one.id: screen._costs(one.architecture) for one in trained}
        assert not screen._ruled_out(others, candidate.architecture, trained, costs)
    archive.close()


SMALL = parse("b@8_1-2-2")


def small_codes(most=9):
    """All codes that expansions reach from the smallest, of so many blocks at most."""
    for lengths in product(range(1, most), repeat=3):
        if sum(lengths) <= most:
            yield SMALL.with_stages(
                tuple(digit + "1" * (count - 1) for digit, count in zip("122", lengths, strict=True))
            )


def true_front(task):
    """Codes than which no cheaper one is as good."""
    front, best = [], -math.inf
    for code in sorted(small_codes(), key=lambda code: backbone_cost(code, 64, 64).multiply_adds):
        if (quality := task.score(str(code), 4)) > best:
            front.append(code)
            best = quality
    return front


def trained(folder, task, count, seed):
    """An archive of the smallest code and others by chance, none of them on the front."""
    folder.mkdir()
    filled = Filled(folder, SMALL, task.score(str(SMALL), 4, 10**6 + seed), ranking="prediction")
    rng, front = np.random.default_rng(seed), true_front(task)
    for number in range(6):
        filled.control(0, task.score(str(SMALL), 4, 1000 * seed + number))
    others = [code for code in small_codes() if code not in front and code != SMALL]
    for place in rng.permutation(len(others))[:count].tolist():
        score = task.score(str(others[place]), 4, 1000 * seed + 100 + place)
        filled.add("child", 0, align(SMALL, others[place]), score)
    return filled.archive, front


def refused_of_front(folder, noise, margin, seeds=8):
    """How many members of the true front are ruled out, and how many other codes, in several archives."""
    task, of_front, of_others = NullTask(noise=noise, landscape="order", landscape_seed=3), 0, 0
    for seed in range(seeds):
        archive, front = trained(folder / f"{margin}-{seed}", task, 24, seed)
        with archive:
            rest = [code for code in small_codes() if code not in front and not archive.contains(code)]
            of_front += sum(ruled_out(archive, *map(str, front), margin=margin))
            of_others += sum(ruled_out(archive, *map(str, rest), margin=margin))
    return of_front, of_others


def test_no_member_of_the_true_front_is_ruled_out_without_noise(tmp_path):
    of_front, of_others = refused_of_front(tmp_path, 0.0, 0.0, seeds=3)
    assert of_front == 0
    assert of_others > 10


def test_with_noise_the_margin_keeps_members_of_the_front(tmp_path):
    without, _ = refused_of_front(tmp_path, 0.04, 0.0)
    with_margin, _ = refused_of_front(tmp_path, 0.04, 2.0)
    assert without > 15
    assert with_margin <= 1  # of the members in eight archives; chance is not ruled out


def test_the_order_the_wrong_way_round_rules_out_the_optimum_at_once(tmp_path, monkeypatch):
    task = NullTask(landscape="order", landscape_seed=3)
    archive, front = trained(tmp_path / "order", task, 8, 0)
    with archive:
        assert ruled_out(archive, str(front[-1])) == [False]
        monkeypatch.setattr(partial_order, "precedes", lambda one, other: precedes(other, one))
        assert ruled_out(archive, str(front[-1])) == [True]


def test_all_are_registered_and_no_strategys_own():
    from spnas_search.settings import resolve

    names = ("entropy", "partial-order", "surrogate")
    assert all(screen_plugin(name).summary for name in names)
    assert resolve({}).screen.name not in names
    assert resolve({"strategy": {"name": "random"}}).screen is None
