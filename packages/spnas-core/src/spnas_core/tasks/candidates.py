"""A candidate of a run, as far as tools that know nothing of archives need it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ResolvedCandidate:
    """What ``RUN[:ID]`` stands for.

    Attributes:
        architecture: its code.
        weights: its weights file; None where the run has not kept it.
        settings: the run's ``[task]`` table, defaults included, as plain values.
    """

    architecture: str
    weights: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
