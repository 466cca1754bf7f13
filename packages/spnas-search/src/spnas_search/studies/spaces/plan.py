"""The plan of a study of spaces: codes drawn from each, trained alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from spnas_core.configuration import Count
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, SpaceError
from spnas_core.morphisms import identity
from spnas_core.presets import laid_over
from spnas_core.space import SearchSpace
from spnas_core.tasks import Fidelity
from spnas_search.settings import read_toml, resolve
from spnas_search.strategies.sampling import sampler_of
from spnas_search.studies.jobs import Job
from spnas_search.studies.keys import TrainingKey
from spnas_search.studies.own_settings import OwnSettings

SCRATCH = "scratch"
OF_A_SPACE = ("start", "space")
"""What the file of a space may set."""

DRAWS = 200
"""Draws for each wanted code, at most."""


class SpacesSettings(OwnSettings):
    """What a study of spaces does.

    Attributes:
        codes: drawn from each space; the paper has 100.
        trainings: of each code; its score is their mean.
        epochs: of each training, from scratch.
    """

    study = "study of spaces"

    codes: Count = Field(100, ge=5)
    trainings: Count = Field(1, ge=1)
    epochs: Count = Field(ge=1)


@dataclass(frozen=True)
class DrawnSpace:
    """A space, and the codes that were drawn from it.

    Attributes:
        name: the start's code, or that of the file with its settings.
        codes: different ones, in the order in which they were drawn.
    """

    name: str
    codes: tuple[str, ...]


def read_spaces(texts: Sequence[str], base: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Return name and configuration of each space.

    Args:
        texts: codes of starts, or TOML files with ``start`` and ``[space]``; a file's name without its ending is the
            space's.
        base: the study's configuration, of which a space takes what it does not say.

    Raises:
        ConfigError: a file sets something else or a wrong value; two spaces have one name; there is none.
        CodeError: a text is no code.
    """
    if not texts:
        raise ConfigError("name one space or more: codes of starts, or TOML files with start and [space]")
    found = []
    for text in texts:
        is_file = text.endswith(".toml")
        own = read_toml(Path(text)) if is_file else {"start": str(Architecture.parse(text))}
        for key in own:
            if key not in OF_A_SPACE:
                raise ConfigError(f"{text} sets {key!r}: a space has {' and '.join(OF_A_SPACE)}, the study all else")
        values = laid_over(base, own)
        resolve(values)
        found.append((Path(text).stem if is_file else str(own["start"]), values))
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two spaces are called {name!r}: name a start once, and give files other names")
    return tuple(found)


def draw_codes(
    name: str, start: Architecture, space: SearchSpace, count: int, seed: int, known: Sequence[str] = ()
) -> DrawnSpace:
    """Draw different codes of a space.

    What is drawn is what the space wants drawn: by ``Sampler``, what is reached from the start (its blocks in order,
    further ones between them, other borders), or by ``AnySampler``. More codes of the same seed begin with the same
    ones. Spaces of different names are drawn from independently, however much they overlap: a comparison of
    distributions takes their codes for independent samples.

    Args:
        name: of the space.
        start: the smallest code.
        space: bounds.
        count: codes wanted.
        seed: of the draws.
        known: codes that were drawn before; they come first.

    Raises:
        SpaceError: so many were not found; where none was and the start is outside, by what.
    """
    sampler, rng = sampler_of(start, space), np.random.default_rng([seed, *name.encode()])
    found = dict.fromkeys(known)
    for _ in range(DRAWS * count):
        if len(found) >= count:
            break
        code = sampler.draw(rng).child
        if code in space:
            found[str(code)] = None
    if len(found) < count:
        if not found and (outside := space.violations(start)):
            raise SpaceError(f"the space of {name} does not hold its start {start}: {'; '.join(outside)}")
        raise SpaceError(
            f"only {len(found)} different codes were drawn from the space of {name}, and {count} are wanted: ask for "
            "fewer, or widen its bounds"
        )
    return DrawnSpace(name, tuple(found))


@dataclass(frozen=True)
class SpacesPlan:
    """The trainings of a study of spaces.

    Attributes:
        settings: what it was made from.
        spaces: with their codes, the one that others are compared with first.
        jobs: everything to be trained, code by code, so that all spaces have as many at any time.
    """

    settings: SpacesSettings
    spaces: tuple[DrawnSpace, ...]
    jobs: tuple[Job, ...]

    def keys(self, code: str) -> tuple[TrainingKey, ...]:
        """Return the trainings of a code."""
        return _keys(code, self.settings)


def plan_spaces(spaces: Sequence[DrawnSpace], settings: SpacesSettings) -> SpacesPlan:
    """Plan the trainings; a pure function."""
    drawn = tuple(DrawnSpace(space.name, space.codes[: settings.codes]) for space in spaces)
    jobs: dict[TrainingKey, Job] = {}
    for place in range(settings.codes):
        for space in drawn:
            code = space.codes[place]
            for key in _keys(code, settings):
                rewrite = identity(Architecture.parse(code))
                jobs.setdefault(key, Job(key, rewrite, Fidelity(settings.epochs), split=settings.split))
    return SpacesPlan(settings, drawn, tuple(jobs.values()))


def _keys(code: str, settings: SpacesSettings) -> tuple[TrainingKey, ...]:
    return tuple(TrainingKey(code, SCRATCH, settings.epochs, number) for number in range(settings.trainings))
