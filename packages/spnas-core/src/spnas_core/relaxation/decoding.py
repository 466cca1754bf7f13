"""From decisions back to codes: the most probable ways through the trellis.

Viterbi's algorithm finds the way of the largest product of probabilities, which a greedy walk may miss (Liu et al.,
"Auto-DeepLab", CVPR 2019, section 4.2); with lists of the best at every node, the next best ones too.
"""

from itertools import islice

from spnas_core.encoding import Architecture
from spnas_core.relaxation.decisions import DOWN, STAY, Choice, Decisions
from spnas_core.relaxation.mixtures import Logits, probabilities
from spnas_core.space import SearchSpace

MOST = 4096
"""Choices that are looked at, at most, until enough codes lie in the space."""


def best_choices(decisions: Decisions, logits: Logits, count: int) -> list[tuple[float, Choice]]:
    """Return the most probable choices with their probabilities, best first.

    Args:
        decisions: about the parts of a start.
        logits: of the decisions.
        count: of the choices; fewer where there are no more.
    """
    odds = probabilities(decisions, Logits(logits.keep.double(), logits.move.double()))
    keep, move = odds.keep.detach().cpu().numpy(), odds.move.detach().cpu().numpy()
    lists: list[list[tuple[float, Choice]]] = [[] for _ in range(decisions.stages)]
    lists[0] = [(1.0, Choice((True,), ()))]
    for place in range(1, len(decisions.blocks)):
        following: list[list[tuple[float, Choice]]] = [[] for _ in range(decisions.stages)]
        for stage, best in enumerate(lists):
            for chance, choice in best:
                stays, goes = chance * move[place - 1, stage, STAY], chance * move[place - 1, stage, DOWN]
                if decisions.legal[place - 1, stage, STAY]:
                    following[stage].append((stays * keep[place, 0], Choice((*choice.kept, True), choice.begins)))
                    if decisions.is_optional[place]:
                        following[stage].append((stays * keep[place, 1], Choice((*choice.kept, False), choice.begins)))
                if decisions.legal[place - 1, stage, DOWN]:
                    following[stage + 1].append((goes, Choice((*choice.kept, True), (*choice.begins, place))))
        lists = [sorted(found, key=_rank)[:count] for found in following]
    return lists[-1]


def best_codes(decisions: Decisions, logits: Logits, space: SearchSpace, count: int) -> list[Architecture]:
    """Return different codes of the space, those of the most probable choices first.

    Args:
        decisions: about the parts of a start.
        logits: of the decisions.
        space: bounds.
        count: of the codes; fewer where the most probable 4,096 choices hold no more.
    """
    wanted = max(1, count)
    while True:
        choices = best_choices(decisions, logits, wanted)
        codes = dict.fromkeys(decisions.code(choice) for _, choice in choices)
        found = list(islice((code for code in codes if code in space), count))  # no more are measured than wanted
        if len(found) >= count or len(choices) < wanted or wanted >= MOST:
            return found
        wanted = min(MOST, 2 * wanted)


def _rank(one: tuple[float, Choice]) -> tuple[float, tuple[int, ...], tuple[bool, ...]]:
    """The most probable first; of equal ones the earlier borders, then the one with fewer blocks in front."""
    return -one[0], one[1].begins, one[1].kept
