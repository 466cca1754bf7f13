"""What a learned strategy is told by the archive: rewards of finished children, and learning from them once more."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Generic, Literal, NamedTuple, TypeVar

from pydantic import Field, model_validator

from spnas_core.configuration import Few, Table
from spnas_core.morphisms import Rewrite
from spnas_search.archive import Archive, Candidate

MOST = 0.99
"""Qualities are shaped up to here, where tan(quality · π/2) is 63.7; at 1 it has no value."""
_Setting = TypeVar("_Setting")
_Learner = TypeVar("_Learner")


class RewardSettings(Table):
    """What the ``[strategy]`` tables of learned strategies have: what a child is rewarded for.

    Attributes:
        reward: ``lead``, quality above the start's in units of the noise, as the ranking rule has it: it compares
            candidates of any age; ``gain``, the same above the parent's; ``merit``, the start's score plus the lead;
            ``score``, the score as it is, which rewards age where children inherit.
        shape: what becomes of a merit or score: ``tan``, tan(quality · π/2), after Cai et al., "Efficient Architecture
            Search by Network Transformation", AAAI 2018; ``power``, quality · (cost / target)^exponent, after Tan et
            al., "MnasNet", CVPR 2019.
        cost: that ``power`` weighs; ``latency`` where the search measures it.
        cost_target: of that cost; None for the start's.
        cost_exponent: of ``power``; MnasNet has -0.07, ProxylessNAS -0.1.
        per_update: children that are learnt from at once; None for as many as ``round`` says, in an asynchronous search
            too, where they are proposed one by one.
    """

    reward: Literal["lead", "gain", "merit", "score"] = "lead"
    shape: Literal["none", "tan", "power"] = "none"
    cost: Literal["parameters", "multiply_adds", "activation_bytes", "latency"] = "multiply_adds"
    cost_target: float | None = Field(None, gt=0, le=1e18)
    cost_exponent: float = Field(-0.07, ge=-10, le=0)
    per_update: Few | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check_shape(self) -> "RewardSettings":
        if self.shape != "none" and self.reward not in {"merit", "score"}:
            raise ValueError(
                f"shape {self.shape!r} needs a reward between 0 and 1, and a {self.reward} is none: take reward = "
                "'merit' or 'score'"
            )
        return self


class Lesson(NamedTuple):
    """What is learnt from one child.

    Attributes:
        child: its number.
        rewrite: from its parent.
        reward: see ``RewardSettings``.
    """

    child: int
    rewrite: Rewrite
    reward: float


Batch = tuple[Lesson, ...]
"""What is learnt at once."""


def tan_shaped(quality: float) -> float:
    """Return tan(quality · π/2): the last points of accuracy count most. Example: 0.9 gives 6.31, and 0.5 gives 1."""
    return math.tan(quality * math.pi / 2)


def power_shaped(quality: float, cost: float, target: float, exponent: float) -> float:
    """Return quality · (cost / target)^exponent. Example: 0.75 at 100 ms for 80 ms with -0.07 gives 0.738."""
    return float(quality * (cost / target) ** exponent)


def reward_of(archive: Archive, candidate: Candidate, settings: RewardSettings) -> float | None:
    """Return the reward of a start or child; None where it has failed, or where its score says nothing yet.

    Where a lower objective is better, 1 - objective is shaped.

    Raises:
        ConfigError: no candidate has the cost that is weighed.
    """
    if settings.reward in {"lead", "gain"}:
        value = archive.lead(candidate) if settings.reward == "lead" else _gain(archive, candidate)
        return None if value is None else value / (archive.noise() or 1.0)
    value = archive.merit(candidate) if settings.reward == "merit" else archive.score(candidate)
    if value is None or not math.isfinite(value):
        return None
    if settings.shape == "none":
        return value
    quality = min(max(value if archive.objective.higher_is_better else 1 + value, 0.0), MOST)
    if settings.shape == "tan":
        return tan_shaped(quality)
    cost, of_start = (archive.weighed(one, settings.cost) for one in (candidate, archive.start))
    target = settings.cost_target or of_start
    return power_shaped(quality, cost, target, settings.cost_exponent) if cost and target else None


def _gain(archive: Archive, candidate: Candidate) -> float | None:
    """Quality of a child above its parent's: over its controls, or by their leads where the rule has none."""
    if archive.rule.needs_controls:
        gain = archive.gain(candidate)
        return gain if gain is not None and math.isfinite(gain) else None
    if candidate.parent is None:
        return None
    lead, base = archive.lead(candidate), archive.lead(archive[candidate.parent])
    return None if lead is None or base is None else lead - base


def batched(children: Iterable[Candidate], count: int) -> Iterator[list[Candidate]]:
    """Join rounds of children to batches: as few whole rounds as have ``count`` of them; what is left over is none."""
    batch: list[Candidate] = []
    for _, born in groupby(children, key=lambda child: child.round):
        batch += born
        if len(batch) >= count:
            yield batch
            batch = []


def lessons(archive: Archive, settings: RewardSettings, count: int = 1) -> tuple[Batch, ...]:
    """Return what the finished children teach, batch by batch, ascending by number.

    Batches follow one another by the numbers of their children, whichever has ended first, and the first of which
    something is under way ends them: so what is learnt is gone on with, and never changed, by whatever ends later.

    A child that has failed, or whose score says nothing, gets the lowest reward that any has had so far, its batch
    included. Until there is one, batches teach nothing.

    Args:
        archive: of the search.
        settings: what a child is rewarded for.
        count: children in a batch, at least.
    """
    found: list[Batch] = []
    least = math.inf
    for batch in batched(archive.of_kind("child"), count):
        if any(child.status == "proposed" for child in batch):
            break
        rewards = [reward_of(archive, child, settings) for child in batch]
        least = min([least, *(reward for reward in rewards if reward is not None)])
        if math.isfinite(least):
            pairs = zip(batch, rewards, strict=True)
            found.append(
                tuple(Lesson(one.id, one.rewrite, least if reward is None else reward) for one, reward in pairs)
            )
    return tuple(found)


class Relearning(Generic[_Setting, _Learner]):
    """A learner that follows from what there is to learn: begun anew for every archive, and gone on with where it can.

    A strategy has no state, so what it has learnt is learnt again from the archive. One learner is remembered: where
    what it has learnt is the beginning of what there is to learn, only the rest is. That is so of rewards that no later
    score changes; leads, gains and merits are learnt anew whenever one does.

    Args:
        begin: makes a learner that knows nothing, from what it depends on.
        learn: lets it learn the last of some batches, the earlier ones of which it has learnt.
    """

    def __init__(
        self, begin: Callable[[_Setting], _Learner], learn: Callable[[_Learner, Sequence[Batch]], None]
    ) -> None:
        self._begin = begin
        self._learn = learn
        self._known: tuple[_Setting, tuple[Batch, ...], _Learner] | None = None

    def after(self, setting: _Setting, history: tuple[Batch, ...]) -> _Learner:
        """Return the learner that has learnt these batches.

        Args:
            setting: what it depends on besides.
            history: batches in order.
        """
        known = self._known
        if known is None or known[0] != setting or history[: len(known[1])] != known[1]:
            known = setting, (), self._begin(setting)
        _, learnt, learner = known
        self._known = None  # what fails half-way is not gone on with
        for number in range(len(learnt), len(history)):
            self._learn(learner, history[: number + 1])
        self._known = setting, history, learner
        return learner
