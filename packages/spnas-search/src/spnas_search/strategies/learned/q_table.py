"""A table of what actions are worth, learnt from whole episodes, and the share of chance in choosing them."""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

Values = list[float]
"""Of all actions in one state."""
Moves = tuple[tuple[Values, int, Callable[[Values], tuple[float, ...]]], ...]
"""An episode from its last step to its first: values of the state, the action, and what takes the legal ones."""


class Step(NamedTuple):
    """One action of an episode.

    Attributes:
        state: in which it was taken.
        legal: per action, whether it might have been.
        action: its place.
    """

    state: Hashable
    legal: tuple[bool, ...]
    action: int


class QTable:
    """Q(state, action), by Q-learning: Q(s, a) += α · (r + γ · max_a' Q(s', a') - Q(s, a)).

    Watkins, "Learning from Delayed Rewards", 1989.

    Args:
        first_value: of every pair that was never updated.
        learning_rate: α.
        discount: γ.
    """

    def __init__(self, first_value: float, learning_rate: float, discount: float) -> None:
        self._first_value = first_value
        self._learning_rate = learning_rate
        self._discount = discount
        self._values: dict[Hashable, Values] = {}

    def value(self, state: Hashable, action: int) -> float:
        """Return Q(state, action)."""
        values = self._values.get(state, ())
        return values[action] if action < len(values) else self._first_value

    def best(self, state: Hashable, legal: Sequence[bool]) -> list[int]:
        """Return the legal actions of the largest value, all that are equal."""
        values = {action: self.value(state, action) for action, may in enumerate(legal) if may}
        largest = max(values.values())
        return [action for action, value in values.items() if value == largest]

    def moves(self, episode: Sequence[Step]) -> Moves:
        """Look up what an episode updates, so that it can be learnt many times; its steps are in order."""
        return tuple((self._of(step), step.action, _taking(step.legal)) for step in reversed(episode))

    def learn(self, moves: Moves, rewards: Sequence[float]) -> None:
        """Update an episode from its last step backwards, so that one pass carries its end to its beginning.

        Args:
            moves: of the episode, in this table.
            rewards: one for each step, in order; behind the last there is no future.
        """
        rate, discount, future = self._learning_rate, self._discount, 0.0
        for (values, action, legal_of), reward in zip(moves, reversed(rewards), strict=True):
            known = values[action]
            target = reward + discount * future
            values[action] = known + rate * (target - known)
            future = max(legal_of(values))

    def _of(self, step: Step) -> Values:
        """Return the values of a step's state, which updates change."""
        values = self._values.setdefault(step.state, [])
        values.extend([self._first_value] * (len(step.legal) - len(values)))
        return values


@lru_cache
def _taking(legal: tuple[bool, ...]) -> Callable[[Values], tuple[float, ...]]:
    """Return what takes the values of legal actions, the first of them twice: of one place there would be no tuple."""
    places = [action for action, may in enumerate(legal) if may]
    return itemgetter(*places, places[0])


def rewards_of(steps: int, reward: float, *, is_shared: bool) -> list[float]:
    """Return the rewards of an episode's steps: an equal share for each, or all for the last.

    Shares are those of Zhong et al., "Practical Block-wise Neural Network Architecture Generation", CVPR 2018.
    """
    return [reward / steps] * steps if is_shared else [0.0] * (steps - 1) + [reward]


Schedule = tuple[tuple[float, int], ...]
"""(ε, how long it lasts), in order."""


def scaled(schedule: Schedule, children: int) -> list[int]:
    """Return after how many children each ε ends, for a schedule that is stretched to so many.

    Example: ε of 1 and 0.1 for 1500 and 1200 networks, 100 children: 56 and 100.
    """
    total, found, so_far = sum(length for _, length in schedule), [], 0
    for _, length in schedule:
        so_far += length
        found.append(round(children * so_far / total))
    return found


def chance(schedule: Schedule, children: int, number: int) -> float:
    """Return ε of one child, counted from 0; behind the end of the schedule the last one stays."""
    for (epsilon, _), end in zip(schedule, scaled(schedule, children), strict=True):
        if number < end:
            return epsilon
    return schedule[-1][0]
