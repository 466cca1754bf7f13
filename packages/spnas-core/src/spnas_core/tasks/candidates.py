"""A candidate of a run, as far as tools that know nothing of archives need it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spnas_core.checksums import file_checksum
from spnas_core.errors import WeightsError


@dataclass(frozen=True)
class ResolvedCandidate:
    """What ``RUN[:ID]`` stands for.

    Attributes:
        architecture: its code.
        weights: its weights file; None where the run has not kept it.
        settings: the run's ``[task]`` table, defaults included, as plain values.
        checksum: of the weights file as it was written (``file_checksum``); empty where the run knows none.
    """

    architecture: str
    weights: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    checksum: str = ""

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
