"""Several searches that differ in their seed only."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from rich.console import RenderableType

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import number
from spnas_search.driver.verdict import NoVerdict, Verdict
from spnas_search.reports.verdicts import cost_ratio
from spnas_search.statistics import Interval, mean_interval


@dataclass(frozen=True)
class SeedsSummary:
    """What several searches have in common.

    A search in which no child beat the start has a gain of 0: the start is what it found. A search that has no verdict
    for any other reason has no gain, and counts for nothing.

    Attributes:
        outcomes: how each search has ended, as ``outcome`` says.
        first: the seed of the first search; the others count up from it, and their folders are named so.
    """

    outcomes: Sequence[Verdict | NoVerdict]
    first: int = 0

    @property
    def gains(self) -> list[float]:
        """Gain of each search's winner over its start where it is tested; of the searches that have one."""
        return [gain for found in self.outcomes if (gain := _gain(found)) is not None]

    @property
    def gain(self) -> Interval | None:
        """Mean gain with its 95 % interval over searches; None where no search has one.

        Where trainings never vary, as where one is read off a table again and again, nothing tells what chance does to
        them: there is no interval.
        """
        if not self.gains:
            return None
        found = mean_interval(self.gains)
        return found if self._vary else replace(found, low=math.nan, high=math.nan)

    @property
    def _vary(self) -> bool:
        """Whether trainings differ that are alike but for their seed: of the start, or of the winner of one search."""
        columns = [found.columns[0] for found in self.outcomes if isinstance(found, Verdict)]
        starts: dict[tuple[str, int], list[float]] = defaultdict(list)
        for column in columns:
            starts[column.name, column.epochs] += column.start
        several = [side for side in (*starts.values(), *(column.winner for column in columns)) if len(side) > 1]
        return not several or any(len(set(side)) > 1 for side in several)

    def parts(self) -> Iterator[RenderableType]:
        """Yield a table, what some searches lack, and the mean gain."""
        verdicts = [found for found in self.outcomes if isinstance(found, Verdict)]
        ways = {found.columns[0].name for found in verdicts}
        tested_on = verdicts[0].tested_on if verdicts else "test images"  # of one data set
        how = (
            f", trained {'from scratch' if ways == {'from scratch'} else 'alike from fresh warm starts'}"
            if ways
            else ""
        )
        table = make_table(
            (*numbers("seed"), Column("winner"), *numbers("start", "winner", "gain", "95 % interval", "mult-adds")),
            title=f"Winner of each search against its start{how}, on {tested_on}",
        )
        for seed, found in enumerate(self.outcomes, self.first):
            table.add_row(str(seed), *_cells(found))
        yield table
        yield from self._lacking()
        yield self._mean()

    def _lacking(self) -> Iterator[str]:
        """Say of which searches there is no verdict, and why."""
        by_reason: dict[str, list[str]] = {}
        for seed, found in enumerate(self.outcomes, self.first):
            if isinstance(found, NoVerdict) and not found.start_won:
                by_reason.setdefault(found.reason, []).append(str(seed))
        for reason, seeds in by_reason.items():
            yield f"Seed {', '.join(seeds)}: {reason}"

    def _mean(self) -> str:
        gain, searches = self.gain, len(self.outcomes)
        if all(isinstance(found, NoVerdict) and found.start_won for found in self.outcomes):
            return f"In {'the one search' if searches == 1 else f'all {searches} searches'} no child beat the start."
        if gain is None:
            return f"The gain is unknown: none of the {searches} searches has a verdict on test images."
        counted = f"{searches} searches" if gain.count == searches else f"{gain.count} of {searches} searches"
        size = number(gain.mean, signed=True)
        if not gain.is_known or gain.is_point:
            return f"The gain is {size} in {self._why_unknown(gain, counted)}."
        interval = f"95 % interval {number(gain.low, signed=True)} … {number(gain.high, signed=True)}, {counted}"
        if gain.excludes_zero:
            return f"The searches find {'better' if gain.mean > 0 else 'worse'} architectures: {size} ({interval})."
        return f"Whether the searches find better architectures cannot be told: {size} ({interval})."

    def _why_unknown(self, gain: Interval, counted: str) -> str:
        """Say in how many searches the gain was found, and why it has no interval."""
        if gain.count == 1:
            return "one search: what another search would find cannot be said"
        return f"{counted}{' alike' if gain.is_point else ''}: what never varies says nothing of chance"


def _gain(found: Verdict | NoVerdict) -> float | None:
    if isinstance(found, Verdict):
        return found.gain.mean
    return 0.0 if found.start_won else None


def _cells(found: Verdict | NoVerdict) -> tuple[str, ...]:
    if isinstance(found, NoVerdict):
        if found.start_won:
            return "none beat the start", "", "", number(0.0, signed=True), "", "1.00x"
        return "no verdict", *[number(None)] * 5
    gain, column = found.gain, found.columns[0]
    interval = f"{number(gain.low, signed=True)} … {number(gain.high, signed=True)}" if gain.is_known else number(None)
    return (
        str(found.winner.architecture),
        number(fmean(column.start)),
        number(fmean(column.winner)),
        number(gain.mean, signed=True),
        interval,
        cost_ratio(found),
    )
