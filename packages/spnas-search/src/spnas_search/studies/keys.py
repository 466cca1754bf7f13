"""What names a training of a study, for ever: its seed and its weights file follow from the name alone."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from spnas_core.errors import ConfigError

_SEED_BITS = 31
_NUMBER_BITS = 48
_OWN = ("code", "how", "epochs", "repetition")


@dataclass(frozen=True)
class TrainingKey:
    """Which training of a study this is; two trainings of one folder never have the same key.

    Attributes:
        code: of the trained architecture.
        how: what the training is for and what it begins with, in a word of the study's own, such as ``scratch``.
        epochs: as the study counts them, 0 or more.
        repetition: number of the independent training, from 0.
        extra: further fields, sorted by name; values are texts or whole numbers.

    Raises:
        ConfigError: a field of another kind, or an extra field that takes the name of another.
    """

    code: str
    how: str
    epochs: int
    repetition: int
    extra: tuple[tuple[str, str | int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "extra", tuple(sorted(self.extra)))
        for name, number in (("epochs", self.epochs), ("repetition", self.repetition)):
            if type(number) is not int or number < 0:
                raise ConfigError(f"the {name} of a training are {number!r}: a whole number, 0 or more, is needed")
        for name, value in (("code", self.code), ("how", self.how), *self.extra):
            if type(value) not in {str, int}:
                raise ConfigError(f"the field {name!r} of a training is {value!r}: it must be a text or a whole number")
        names = [*_OWN, *(name for name, _ in self.extra)]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"the extra fields {names[len(_OWN) :]} of a training take a name twice, or one of {_OWN}"
            )

    @classmethod
    def read(cls, values: Mapping[str, object]) -> Self:
        """Read what ``as_dict`` gives.

        Raises:
            ConfigError: a field is missing or of another kind.
        """
        extra = values.get("extra", {})
        if not isinstance(extra, Mapping) or any(name not in values for name in _OWN):
            raise ConfigError(f"a training must have the fields {', '.join(_OWN)} and may have a table 'extra'")
        own: dict[str, Any] = {name: values[name] for name in _OWN}
        return cls(**own, extra=tuple(extra.items()))

    def as_dict(self) -> dict[str, object]:
        """Return the fields as plain values; ``extra`` is left out where it is empty."""
        own: dict[str, object] = {name: getattr(self, name) for name in _OWN}
        return {**own, "extra": dict(self.extra)} if self.extra else own

    def seed(self, study_seed: int) -> int:
        """Return the seed of everything random in the training, 31 bit.

        It follows from the study's seed and the key, and from nothing else: no order, no other training.
        """
        return _hashed(json.dumps([study_seed, self._text]), _SEED_BITS)

    @property
    def number(self) -> int:
        """The number that its weights file has, 48 bit."""
        return _hashed(self._text, _NUMBER_BITS)

    @property
    def _text(self) -> str:
        return json.dumps({**self.as_dict(), "extra": dict(self.extra)}, sort_keys=True)

    def __str__(self) -> str:
        extra = "".join(f", {name} {value}" for name, value in self.extra)
        return f"{self.how} of {self.code}, {self.epochs} epochs, repetition {self.repetition}{extra}"


def _hashed(text: str, bits: int) -> int:
    """Return a number that is the same in every process and on every machine."""
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> (64 - bits)
