"""The live view of a terminal: where the search is, what is being trained, and what came out."""

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.console import PlainConsole
from spnas_core.commands.tables import make_table
from spnas_core.commands.wording import amount, duration, number
from spnas_core.tasks import Progress
from spnas_search.archive import Candidate
from spnas_search.monitors.state import SearchState
from spnas_search.wording import PHASES, merit_of, origin

SHOWN_OUTCOMES = 8
BAR_WIDTH = 32


class LiveView:
    """Redraws a few lines at the bottom of the terminal; a context manager.

    Args:
        state: followed by this view.
        console: to draw on.
    """

    def __init__(self, state: SearchState, console: PlainConsole) -> None:
        self._state = state
        self._outcomes: deque[Candidate] = deque(maxlen=SHOWN_OUTCOMES)
        self._console = console
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def message(self, text: str) -> None:
        """Print it above the view."""
        self._console.show(text)

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Follow."""
        self._state.round_started(phase, candidates)

    def progress(self, progress: Progress) -> None:
        """Follow."""
        self._state.progress(progress)

    def candidate_finished(self, candidate: Candidate) -> None:
        """Follow, and show the outcome."""
        self._state.candidate_finished(candidate)
        self._outcomes.append(candidate)

    def _draw(self) -> RenderableType:
        return Group(self._search(), self._running(), self._finished())

    def _search(self) -> RenderableType:
        state = self._state
        best = state.best
        grid = Table.grid(padding=(0, 2))
        rate = state.candidates_per_hour
        grid.add_row(
            Text(PHASES[state.phase], style="bold"),
            ProgressBar(total=1.0, completed=state.share, width=BAR_WIDTH),
            state.counted,
            f"{'–' if rate is None else f'{rate:.0f}'} candidates/h",
            f"{duration(state.seconds_left)} left",
        )
        if best is None:
            return grid
        line = Table.grid(padding=(0, 2))
        for style in ("bold", "bold green", "", ""):
            line.add_column(style=style)
        line.add_row(
            "best so far",
            str(best.architecture),
            f"merit {number(merit_of(state.archive, best))} {state.archive.objective.name}",
            f"{amount(best.cost.get('multiply_adds'))} multiply-adds",
        )
        return Group(grid, line)

    def _running(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for candidate, progress in self._state.running.values():
            done, total = (progress.done, progress.total) if progress else (0, 1)
            note = progress.note if progress else "waiting"
            grid.add_row(
                f"  {candidate.kind} {candidate.id}",
                str(candidate.architecture),
                ProgressBar(total=max(total, 1), completed=done, width=BAR_WIDTH),
                f"{done}/{total}",
                note,
            )
        return grid

    def _finished(self) -> RenderableType:
        archive = self._state.archive
        columns = Column(""), Column("architecture"), Column("from"), *numbers(archive.objective.name, "lead", "time")
        table = make_table(columns, framed=False)
        for candidate in self._outcomes:
            failed = candidate.status == "failed"
            lead = archive.lead(candidate) if candidate.kind == "child" else None
            table.add_row(
                f"{candidate.kind} {candidate.id}",
                str(candidate.architecture),
                candidate.reason if failed else origin(candidate),
                "failed" if failed else number(candidate.metrics.get(archive.objective.name)),
                Text(number(lead, signed=True), style="green" if lead and lead > 0 else ""),
                duration(candidate.seconds),
                style="red" if failed else None,
            )
        return table
