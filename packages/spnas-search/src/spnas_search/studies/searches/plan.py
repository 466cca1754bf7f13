"""The plan of a study of searches: which trainings from scratch judge what they have found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from spnas_core.configuration import Count
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity
from spnas_core.tasks.protocols import Split
from spnas_search.studies.jobs import Job
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.own_settings import OwnSettings
from spnas_search.studies.searches.found import Found

SCRATCH = "scratch"
STRIDE = 1000
"""Repetitions that a search of a study has to itself, so that trainings keep their numbers when there are more."""
FEWEST_RANKED = 3


class SearchesSettings(OwnSettings):
    """What a study of searches does.

    Attributes:
        searches: of each way to search, with independent seeds.
        trainings: from scratch of each winner, and of the start.
        sampled: trainings of the sampled code that a winner is compared with: None for as many, 0 for none. How much
            codes differ hides more here than the luck of a training, so one is nearly as good as several.
        epochs: of each of these trainings.
        ranked: codes of each search's own ranking that are trained from scratch, once, for the agreement of both
            orders; 0 leaves that out.
        split: images that these trainings are scored on.
        stride: repetitions between those of one search and the next; None for ``trainings``, as earlier versions had
            it: such a study trains anew where ``trainings`` is raised.
    """

    study = "study of searches"
    lasting = ("split", "ranked")

    searches: Count = Field(10, ge=2)
    trainings: Count = Field(1, ge=1)
    sampled: Count | None = Field(None, ge=0)
    epochs: Count = Field(ge=1)
    ranked: Count = Field(5, ge=0)
    split: Split = "test"
    stride: Count | None = Field(None, ge=1)

    @property
    def sampled_trainings(self) -> int:
        """Trainings of each sampled code."""
        return self.trainings if self.sampled is None else self.sampled

    def check(self) -> None:
        """Refuse so few codes that they have hardly an order, and more trainings of sampled codes than of winners.

        Raises:
            ConfigError: what is wrong, and what to do.
        """
        if 0 < self.ranked < FEWEST_RANKED:
            raise ConfigError(f"ranked is {self.ranked}: an order needs {FEWEST_RANKED} codes or more; 0 leaves it out")
        if self.sampled_trainings > self.trainings:
            raise ConfigError(f"sampled is {self.sampled}, above trainings = {self.trainings}: raise the latter")
        if self.stride is not None and self.trainings > self.stride:
            raise ConfigError(f"trainings is {self.trainings}: at most {self.stride} of each code are possible")


Keys = tuple[TrainingKey, ...]


@dataclass(frozen=True)
class Judged:
    """A search's result, and the trainings that judge it.

    Attributes:
        found: by the search.
        winner: trainings of the winner.
        sampled: trainings of the sampled code of like cost, where there is one.
        ranked: one training of each ranked code.
    """

    found: Found
    winner: Keys
    sampled: Keys
    ranked: Keys


@dataclass(frozen=True)
class SearchesPlan:
    """The trainings that judge the searches which have ended.

    Attributes:
        settings: what it was made from.
        arms: names of the ways to search, in order.
        start: code.
        judged: searches that have ended, by arm.
        starts: trainings of the start, as many as an arm's winners have.
        jobs: everything to be trained.
    """

    settings: SearchesSettings
    arms: tuple[str, ...]
    start: str
    judged: Mapping[str, tuple[Judged, ...]]
    starts: tuple[Keys, ...]
    jobs: tuple[Job, ...]


def plan_trainings(start: str, arms: Sequence[str], found: Sequence[Found], settings: SearchesSettings) -> SearchesPlan:
    """Plan the trainings that judge searches; a pure function.

    A code that several searches of one number have found is trained once for all of them; what searches of different
    numbers have found is trained independently.

    Args:
        start: code.
        arms: names of the ways to search.
        found: what the searches that have ended found.
        settings: how often, for how long.
    """
    jobs: dict[TrainingKey, Job] = {}

    def trained(code: str, number: int, count: int) -> Keys:
        keys = []
        for training in range(count):
            stride = settings.trainings if settings.stride is None else settings.stride
            key = TrainingKey(code, SCRATCH, settings.epochs, number * stride + training)
            rewrite = identity(Architecture.parse(code))
            jobs.setdefault(key, Job(key, rewrite, Fidelity(settings.epochs), split=settings.split))
            keys.append(key)
        return tuple(keys)

    judged: dict[str, list[Judged]] = {arm: [] for arm in arms}
    numbers = sorted({one.number for one in found})
    starts = tuple(trained(start, number, settings.trainings) for number in numbers)
    for one in sorted(found, key=lambda one: (one.number, arms.index(one.arm))):
        winner = trained(one.winner, one.number, settings.trainings)
        sampled = () if one.sampled is None else trained(one.sampled, one.number, settings.sampled_trainings)
        codes = one.ranked if settings.ranked else ()
        ranked = tuple(trained(code, one.number, 1)[0] for code, _ in codes)
        judged[one.arm].append(Judged(one, winner, sampled, ranked))
    by_arm = {arm: tuple(ones) for arm, ones in judged.items()}
    return SearchesPlan(settings, tuple(arms), start, by_arm, starts, tuple(jobs.values()))
