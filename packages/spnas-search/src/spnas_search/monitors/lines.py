"""Plain lines, for logs and for output that is no terminal."""

from collections.abc import Callable, Sequence

from spnas_core.commands.wording import duration, number
from spnas_core.tasks import Progress
from spnas_search.archive import Candidate
from spnas_search.monitors.state import SearchState
from spnas_search.wording import PHASES, merit_of, origin, outcome


class Lines:
    """Prints one line per event.

    Args:
        state: followed by this view.
        write: takes one line, as a console's ``show`` does.
    """

    def __init__(self, state: SearchState, write: Callable[[str], None]) -> None:
        self._state = state
        self._write = write

    def message(self, text: str) -> None:
        """Print it."""
        self._write(text)

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Name the phase where it changes, and each child of the round."""
        if phase != self._state.phase or phase == "start":
            self._write(f"== {PHASES[phase]}")
        self._state.round_started(phase, candidates)
        for candidate in candidates:
            if candidate.kind == "child":
                self._write(f"   child {candidate.id} of {candidate.parent}: {origin(candidate)}")

    def progress(self, progress: Progress) -> None:
        """Follow, and print nothing: a log does not want every step."""
        self._state.progress(progress)

    def candidate_finished(self, candidate: Candidate) -> None:
        """Print the outcome, and after each child where the search stands."""
        state = self._state
        state.candidate_finished(candidate)
        self._write(outcome(state.archive, candidate))
        best = state.best
        if candidate.kind == "child" and best is not None:
            rate = state.candidates_per_hour
            self._write(
                f"   {state.counted}, "
                f"best {best.id} {best.architecture} merit {number(merit_of(state.archive, best))}, "
                f"{'–' if rate is None else f'{rate:.0f}'} candidates/h, {duration(state.seconds_left)} left"
            )
