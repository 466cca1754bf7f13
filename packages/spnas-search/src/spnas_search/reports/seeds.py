"""Several searches that differ in their seed only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.console import RenderableType

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.tables import make_table
from spnas_search.monitors.wording import number
from spnas_search.reports.tables import cost_ratio
from spnas_search.search.comparison import Comparison, NoComparison


@dataclass(frozen=True)
class SeedsSummary:
    """What several searches have in common.

    A search in which no child beat the start has a gain of 0: the start is what it found. A search that has no
    comparison for any other reason has no gain, and counts for nothing.

    Attributes:
        outcomes: how each search has ended, as ``outcome`` says.
    """

    outcomes: Sequence[Comparison | NoComparison]

    @property
    def gains(self) -> list[float]:
        """Gain of each search's winner over its start, on test images; of the searches that have one."""
        return [gain for found in self.outcomes if (gain := _gain(found)) is not None]

    @property
    def standard_error(self) -> float:
        """Of the mean gain; NaN for fewer than two gains."""
        gains = self.gains
        return stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan

    def parts(self) -> Iterator[RenderableType]:
        """Yield a table, what some searches lack, and the mean gain."""
        table = make_table(
            (*numbers("search"), Column("winner"), *numbers("start", "winner", "gain", "seed noise", "mult-adds")),
            title="Winner of each search against its start, at equal age, on test images",
        )
        for place, found in enumerate(self.outcomes, 1):
            table.add_row(str(place), *_cells(found))
        yield table
        yield from self._lacking()
        yield self._mean()

    def _lacking(self) -> Iterator[str]:
        """Say of which searches there is no comparison, and why."""
        by_reason: dict[str, list[str]] = {}
        for place, found in enumerate(self.outcomes, 1):
            if isinstance(found, NoComparison) and not found.start_won:
                by_reason.setdefault(found.reason, []).append(str(place))
        for reason, places in by_reason.items():
            yield f"Search {', '.join(places)}: {reason}"

    def _mean(self) -> str:
        gains, searches = self.gains, len(self.outcomes)
        if not gains:
            return f"The gain is unknown: none of the {searches} searches has a comparison on test images."
        counted = "" if len(gains) == searches else f" of {len(gains)} of {searches} searches"
        mean, error = fmean(gains), self.standard_error
        if math.isnan(error):
            return f"Gain {number(mean, signed=True)}{counted or ' in one search'}: its standard error is unknown."
        relation = "more" if mean > 2 * error else "not more"
        return (
            f"Mean gain {number(mean, signed=True)} ± {number(error)} (standard error){counted}: "
            f"{relation} than two standard errors above zero."
        )


def _gain(found: Comparison | NoComparison) -> float | None:
    if isinstance(found, Comparison):
        return found.gain
    return 0.0 if found.start_won else None


def _cells(found: Comparison | NoComparison) -> tuple[str, ...]:
    if isinstance(found, NoComparison):
        if found.start_won:
            return "none beat the start", "", "", number(0.0, signed=True), "", "1.00x"
        return "no comparison", *[number(None)] * 5
    return (
        str(found.winner.architecture),
        number(fmean(found.start_scores)),
        number(fmean(found.winner_scores)),
        number(found.gain, signed=True),
        number(found.noise),
        cost_ratio(found),
    )
