"""Several searches that differ in their seed only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.console import RenderableType
from rich.table import Table

from spnas_search.monitors.wording import number
from spnas_search.search.comparison import Comparison


@dataclass(frozen=True)
class SeedsSummary:
    """What several searches have in common.

    Attributes:
        comparisons: final comparison of each search; None where no child beat the start, which counts as no gain.
    """

    comparisons: Sequence[Comparison | None]

    @property
    def gains(self) -> list[float]:
        """Gain of each search's winner over its start, on test images."""
        return [0.0 if comparison is None else comparison.gain for comparison in self.comparisons]

    @property
    def standard_error(self) -> float:
        """Of the mean gain; NaN for a single search."""
        gains = self.gains
        return stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan

    def parts(self) -> Iterator[RenderableType]:
        """Yield a table and a sentence."""
        table = Table(
            title="Winner of each search against its start, at equal age, on test images", title_justify="left"
        )
        for heading, justify in (
            ("search", "right"),
            ("winner", "left"),
            ("start", "right"),
            ("winner", "right"),
            ("gain", "right"),
            ("seed noise", "right"),
            ("mult-adds", "right"),
        ):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]
        for index, comparison in enumerate(self.comparisons, 1):
            if comparison is None:
                table.add_row(str(index), "none beat the start", "", "", number(0.0, signed=True), "", "1.00x")
                continue
            ratio = comparison.winner.cost["multiply_adds"] / comparison.start.cost["multiply_adds"]
            table.add_row(
                str(index),
                str(comparison.winner.architecture),
                number(fmean(comparison.start_scores)),
                number(fmean(comparison.winner_scores)),
                number(comparison.gain, signed=True),
                number(comparison.noise),
                f"{ratio:.2f}x",
            )
        yield table
        mean, error = fmean(self.gains), self.standard_error
        if math.isnan(error):
            yield f"Gain {number(mean, signed=True)} in one search: its standard error is unknown."
            return
        relation = "more" if mean > 2 * error else "not more"
        yield (
            f"Mean gain {number(mean, signed=True)} ± {number(error)} (standard error): "
            f"{relation} than two standard errors above zero."
        )
