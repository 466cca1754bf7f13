"""A table of what actions are worth, learnt from whole episodes, and the share of chance in choosing them."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple


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
        self._values: dict[tuple[Hashable, int], float] = {}

    def __len__(self) -> int:
        """How many pairs were updated."""
        return len(self._values)

    def value(self, state: Hashable, action: int) -> float:
        """Return Q(state, action)."""
        return self._values.get((state, action), self._first_value)

    def best(self, state: Hashable, legal: Sequence[bool]) -> list[int]:
        """Return the legal actions of the largest value, all that are equal."""
        values = {action: self.value(state, action) for action, may in enumerate(legal) if may}
        largest = max(values.values())
        return [action for action, value in values.items() if value == largest]

    def learn(self, episode: Sequence[Step], rewards: Sequence[float]) -> None:
        """Update an episode from its last step backwards, so that one pass carries its end to its beginning.

        Args:
            episode: steps in order.
            rewards: one for each; behind the last there is no future.
        """
        future = 0.0
        for step, reward in zip(reversed(episode), reversed(rewards), strict=True):
            known = self.value(step.state, step.action)
            target = reward + self._discount * future
            self._values[step.state, step.action] = known + self._learning_rate * (target - known)
            future = max(self.value(step.state, action) for action, may in enumerate(step.legal) if may)


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
