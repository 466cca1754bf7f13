"""The plan of a signal study: which trainings tell what a score says of an architecture.

Ways to score a code: ``scratch``, from fresh weights for as long as the truth takes; ``none``, from fresh weights for
as long as a search can afford; ``warm-start``, the code's composed rewrite of the start's warm start, trained on;
``parent``, a chain of links from the warm start, each trained on, of which the last one's score counts: the code's
rewrites one by one, and before them, so that all codes are scored at one age, the start itself; ``inherited``, as
``warm-start``, for as long as the truth takes. ``warm`` names the warm starts themselves.

A search sees scores on validation images, and what it finds is to be good on others. With the split ``both`` every way
is scored on validation images, and the truths' trainings once more, as they are, on test images: these are the truths.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from pydantic import Field

from spnas_core.configuration import Count
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Rewrite, identity
from spnas_core.tasks import Fidelity
from spnas_core.tasks.protocols import Split
from spnas_search.studies.jobs import Job, Schedule
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.own_settings import OwnSettings
from spnas_search.studies.paths import MOST_STEPS, Path, composed

Part = Literal["double", "none", "warm-start", "parent", "inherited"]
"""What can be left out of a study."""

PARTS: tuple[Part, ...] = get_args(Part)
SHARING = frozenset({"warm-start", "parent", "inherited"})
"""Ways whose trainings of one repetition share a warm start, and so a part of their luck."""


class SignalSettings(OwnSettings):
    """What a signal study trains.

    Attributes:
        codes: architectures, the start among them.
        trainings: independent trainings of each code, in each way.
        epochs: T, of the truth.
        child_epochs: of what a search sees, each at most T.
        links: of every chain of ``parent``; no way to a code has more rewrites.
        leave_out: parts that are not trained.
        split: images that everything is scored on; ``both`` scores on validation images, and the truths on test images.
    """

    study = "signal study"

    codes: Count = Field(12, ge=3)
    trainings: Count = Field(3, ge=2)
    epochs: Count = Field(ge=1)
    child_epochs: tuple[Count, ...] = Field((1, 2, 4), min_length=1)
    links: Count = Field(MOST_STEPS, ge=1)
    leave_out: tuple[Part, ...] = ()
    split: Split | Literal["both"] = "validation"  # type: ignore[assignment]

    @property
    def seen(self) -> Split:
        """Images that a search sees scores of."""
        return "validation" if self.split == "both" else self.split

    @property
    def meant(self) -> Split:
        """Images that the truths are scored on."""
        return "test" if self.split == "both" else self.split


@dataclass(frozen=True, order=True)
class Arm:
    """A way to score codes: what a training begins with, its epochs, and the images that it is scored on."""

    how: str
    epochs: int
    images: Split = "validation"

    def __str__(self) -> str:
        return f"{self.how} {self.epochs}"


@dataclass(frozen=True)
class SignalPlan:
    """The jobs of a study, and which of them score which code.

    Attributes:
        settings: what it was made from.
        codes: the start first.
        warm_epochs: of the warm starts.
        jobs: everything to be trained, the first repetition first.
        scored: for each arm the keys of its scores, by code and repetition.
    """

    settings: SignalSettings
    codes: tuple[str, ...]
    warm_epochs: int
    jobs: tuple[Job, ...]
    scored: Mapping[Arm, tuple[tuple[TrainingKey, ...], ...]]

    @property
    def truth(self) -> Arm:
        """The truth: trainings from scratch for T epochs."""
        return Arm("scratch", self.settings.epochs, self.settings.meant)

    @property
    def doubled(self) -> Arm:
        """The same for 2 T epochs."""
        return Arm("scratch", 2 * self.settings.epochs, self.settings.meant)

    @property
    def inherited(self) -> Arm:
        """The second truth: what a code inherits from a warm start, trained on for T epochs."""
        return Arm("inherited", self.settings.epochs, self.settings.meant)

    @property
    def seen_truth(self) -> Arm | None:
        """The truth's trainings on the images that a search sees; None where the truth is scored on these itself."""
        seen, meant = self.settings.seen, self.settings.meant
        return None if seen == meant else Arm("scratch", self.settings.epochs, seen)

    def epochs_per_evaluation(self, arm: Arm) -> float:
        """Return what a score costs: the epochs of all jobs that the arm's scores rest on, divided by the scores.

        A warm start is shared by the codes of its repetition, and so is what chains have in common. A search shares its
        warm start among its candidates alike.
        """
        schedule = Schedule(self.jobs)
        keys = [key for code in self.scored[arm] for key in code]
        resting = {job.key: job.fidelity.epochs for key in keys for job in schedule.ancestors(key)}
        return sum(resting.values()) / len(keys)


def plan_signal(
    start: Architecture, paths: Sequence[Path], settings: SignalSettings, *, warm_epochs: int
) -> SignalPlan:
    """Plan a signal study; a pure function.

    Args:
        start: that warm starts train and ways begin at.
        paths: for each code the single rewrites that lead to it from the start; empty for the start itself.
        settings: how many codes, how often, for how long.
        warm_epochs: of the warm starts.

    Raises:
        ConfigError: the paths are not those of so many different codes, one does not begin at the start or is not
            connected or longer than ``links``, the epochs contradict one another, or there is no warm start where one
            is needed.
    """
    _check(start, paths, settings, warm_epochs)
    arms: dict[Arm, list[list[TrainingKey]]] = {}
    jobs: dict[TrainingKey, Job] = {}
    for repetition in range(settings.trainings):
        for position, path in enumerate(paths):
            for arm, line in _lines(start, path, settings, warm_epochs, repetition):
                jobs.update((job.key, job) for job in line if job.key not in jobs)
                by_code = arms.setdefault(arm, [[] for _ in paths])
                by_code[position].append(line[-1].key)
    codes = tuple(str(path[-1].child if path else start) for path in paths)
    scored = {arm: tuple(map(tuple, by_code)) for arm, by_code in arms.items()}
    return SignalPlan(settings, codes, warm_epochs, tuple(jobs.values()), scored)


def _lines(
    start: Architecture, path: Path, settings: SignalSettings, warm_epochs: int, repetition: int
) -> Iterator[tuple[Arm, list[Job]]]:
    """Yield, for each arm, the jobs that lead to the score of one code, the scored one last."""
    out, split, long = settings.leave_out, settings.seen, settings.epochs
    rewrite = composed(start, path)
    code, fresh = str(rewrite.child), identity(rewrite.child)

    def scratch(how: str, epochs: int) -> tuple[Arm, list[Job]]:
        key = TrainingKey(code, how, epochs, repetition)
        return Arm(how, epochs, split), [Job(key, fresh, Fidelity(epochs), split=split)]

    def heirs(how: str, epochs: int, rewrites: Sequence[Rewrite]) -> tuple[Arm, list[Job]]:
        warm = TrainingKey(str(start), "warm", warm_epochs, repetition)
        line = [Job(warm, identity(start), Fidelity(warm_epochs), split=split)]
        for number, one in enumerate(rewrites, 1):
            extra = (("path", _digest(rewrites[:number])),)
            key = TrainingKey(str(one.child), how, epochs, repetition, extra)
            line.append(Job(key, one, Fidelity(epochs), line[-1].key, split))
        return Arm(how, epochs, split), line

    yield from _truths(*scratch("scratch", long), settings)
    if "double" not in out:
        yield from _truths(*scratch("scratch", 2 * long), settings)
    for epochs in settings.child_epochs:
        if "none" not in out:
            yield scratch("none", epochs)
        if "warm-start" not in out:
            yield heirs("warm-start", epochs, [rewrite])
        if "parent" not in out:
            ageing = [identity(start)] * (settings.links - len(path))
            yield heirs("parent", epochs, [*ageing, *path])
    if "inherited" not in out:
        yield from _truths(*heirs("inherited", long, [rewrite]), settings)


def _truths(arm: Arm, line: list[Job], settings: SignalSettings) -> Iterator[tuple[Arm, list[Job]]]:
    """Yield a way to a truth, and its last training scored on other images where these are meant."""
    yield arm, line
    if settings.meant != settings.seen:
        trained, images = line[-1].key, settings.meant
        key = replace(trained, extra=(*trained.extra, ("images", images)))
        again = Job(key, identity(line[-1].rewrite.child), Fidelity(0), trained, images)
        yield replace(arm, images=images), [*line, again]


def _digest(rewrites: Sequence[Rewrite]) -> str:
    """Tell apart the ways that lead to one code: they differ in what is inherited from where."""
    text = json.dumps([[str(rewrite.parent), str(rewrite.child), rewrite.block_map] for rewrite in rewrites])
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _check(start: Architecture, paths: Sequence[Path], settings: SignalSettings, warm_epochs: int) -> None:
    ends = [str(path[-1].child if path else start) for path in paths]
    if len(set(ends)) != settings.codes or len(paths) != settings.codes:
        raise ConfigError(f"{len(set(ends))} different codes were given for a study of {settings.codes}")
    for path, end in zip(paths, ends, strict=True):
        parents, children = [rewrite.parent for rewrite in path], [rewrite.child for rewrite in path]
        if parents != [start, *children][: len(path)]:
            raise ConfigError(f"the way to {end} is not connected, or does not begin at {start}")
        if len(path) > settings.links:
            raise ConfigError(f"the way to {end} has {len(path)} rewrites, and links is {settings.links}: raise that")
    long = settings.epochs
    for epochs in settings.child_epochs:
        if not 1 <= epochs <= long:
            raise ConfigError(f"child epochs are {epochs}: they must be 1 or more, and at most the truth's {long}")
    if len(set(settings.child_epochs)) < len(settings.child_epochs):
        raise ConfigError(f"child epochs {', '.join(map(str, settings.child_epochs))} name one number twice")
    if warm_epochs < 1 and not set(settings.leave_out) >= SHARING:
        raise ConfigError(
            f"warm_start_epochs is {warm_epochs}, and nothing can inherit from a start that was not trained: raise "
            f"it, or leave out {', '.join(sorted(SHARING))}"
        )
