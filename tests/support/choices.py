"""Choices of parts, written down decision by decision."""

import itertools
import math

import numpy as np

from spnas_core.relaxation import Choice, Logits


def everything(decisions):
    """Every choice, by brute force over borders and blocks."""
    count, stages = len(decisions.blocks), decisions.stages
    for begins in itertools.combinations(range(1, count), stages - 1):
        steps = [(begin - 1, stage) for stage, begin in enumerate(begins)]
        if not all(decisions.legal[place, stage, 1] for place, stage in steps):
            continue
        free = [place for place in range(count) if decisions.is_optional[place] and place not in begins]
        for left_out in itertools.product([False, True], repeat=len(free)):
            gone = {place for place, is_out in zip(free, left_out, strict=True) if is_out}
            yield Choice(tuple(place not in gone for place in range(count)), begins)


def random_logits(decisions, seed, scale=1.5):
    return Logits.drawn(decisions, np.random.default_rng(seed), scale)


def chance(decisions, logits, choice):
    """Probability of a choice, written down decision by decision."""
    keep, move = (tensor.detach().double().numpy() for tensor in logits.tensors())
    stage, product = 0, 1.0
    for place in range(1, len(decisions.blocks)):
        legal = [side for side in (0, 1) if decisions.legal[place - 1, stage, side]]
        down = int(place in choice.begins)
        product *= math.exp(move[place - 1, stage, down]) / sum(
            math.exp(move[place - 1, stage, side]) for side in legal
        )
        stage += down
        if decisions.is_optional[place] and not down:
            product *= math.exp(keep[place, 0 if choice.kept[place] else 1]) / sum(map(math.exp, keep[place]))
    return product
