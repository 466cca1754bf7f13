"""A candidate of a run, as far as tools that know nothing of archives need it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spnas_core.checksums import file_checksum
from spnas_core.errors import WeightsError
from spnas_core.plugins import answers


@dataclass(frozen=True)
class ResolvedCandidate:
    """What ``RUN[:ID]`` stands for.

    Attributes:
        architecture: its code.
        weights: its weights file; None where the run has not kept it.
        settings: the run's ``[task]`` table, defaults included, as plain values.
        checksum: of the weights file as it was written (``file_checksum``); empty where the run knows none.

    Raises:
        TypeError: a value of another kind.
    """

    architecture: str
    weights: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    checksum: str = ""

    def __post_init__(self) -> None:
        for part, kinds, wanted in (
            ("architecture", str, "a code, a text"),
            ("weights", Path | None, "the Path of a file, or None"),
            ("settings", Mapping, "a table of plain values"),
            ("checksum", str, "a digest, a text"),
        ):
            value = getattr(self, part)
            if not isinstance(value, kinds):
                raise TypeError(f"a ResolvedCandidate has {part} = {value!r:.80}: it must be {wanted}")

    def intact_weights(self) -> Path | None:
        """Return the weights file; None where the run has not kept it.

        Raises:
            WeightsError: it is not what the run has written.
        """
        if self.weights is not None and self.checksum and file_checksum(self.weights) != self.checksum:
            raise WeightsError(
                f"{self.weights} was altered since the search wrote it: put it back from a copy, or name another "
                "candidate"
            )
        return self.weights


def resolve_candidate(reference: str) -> ResolvedCandidate | None:
    """Return what ``RUN`` (its best candidate) or ``RUN:ID`` stands for; None where no plugin knows such a run.

    A plugin that fails, or answers something else, is reported among the broken ones; the next one is asked.

    Raises:
        SpnasError: a plugin knows the run, and it lacks the candidate or cannot be read.
    """
    asked = answers("spnas_resolve_candidate", ResolvedCandidate, may_refuse=True, reference=reference)
    return next((found for found in asked if found is not None), None)
