"""Scores as columns, which numpy takes as they are."""

from array import array
from dataclasses import dataclass, field

Setting = tuple[tuple[int, int], float]
"""Image size and share of a score, which may have an offset of their own."""


def integers() -> "array[int]":
    """An empty column of whole numbers."""
    return array("q")


def floats() -> "array[float]":
    """An empty column of numbers."""
    return array("d")


@dataclass
class Observed:
    """Validation scores as columns, which numpy takes as they are; a row per score.

    Settings have the numbers that ``numbers`` says.
    """

    nodes: "array[int]" = field(default_factory=integers)
    ages: "array[float]" = field(default_factory=floats)
    settings: "array[int]" = field(default_factory=integers)
    numbers: dict[Setting, int] = field(default_factory=dict)
    values: "array[float]" = field(default_factory=floats)
    own: "array[int]" = field(default_factory=integers)
    epochs: "array[int]" = field(default_factory=integers)
