"""Archives that are filled by hand, for reports: every kind of candidate, done, failed or under way."""

import io
import math

from spnas_core.commands.console import PlainConsole
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Expand, identity
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal
from spnas_search.settings import RunSettings

START = Architecture.parse("b@8_11-21-21")
SCORE, LOSS = MetricSpec("score"), MetricSpec("loss", higher_is_better=False)
NAN = math.nan
COST = {"multiply_adds": 2e6, "parameters": 1e3}


class Filled:
    """An archive that is filled by hand.

    Args:
        path: of its file.
        objective: to rank by.
    """

    def __init__(self, path, objective=SCORE) -> None:
        self.archive = Archive.create(path, objective=objective, run_seed=0, ranking="gains")
        self.archive._connection.execute("PRAGMA synchronous = OFF")  # what is tested here is not the disk

    def add(
        self, kind: str, parent: int | None = None, score: float | str | None = None, cost=COST, subject=None
    ) -> int:
        """Enter a candidate with a score; a text is why it failed, None leaves it proposed."""
        rewrite = identity(START if parent is None else self.archive[parent].architecture)
        if kind == "child":
            rewrite = Expand().options(self.archive[parent].architecture)[0]
        elif subject:
            rewrite = self.archive[subject].rewrite
        split = "test" if kind == "final" else "validation"
        phase = "verdict" if kind in {"warm", "final"} else "search"
        proposal = Proposal(kind, parent, rewrite, Fidelity(1), split, subject)
        (entered,) = self.archive.commit_round([proposal], threads=1, phase=phase)
        if isinstance(score, str):
            self.archive.fail(entered.id, score)
        elif score is not None:
            evaluation = Evaluation({self.archive.objective.name: score}, cost, {"inherited_percent": 97.25}, 65.0)
            self.archive.finish(entered.id, evaluation, None)
        return entered.id

    def add_all(self, *candidates: tuple) -> Archive:
        for candidate in candidates:
            self.add(*candidate)
        return self.archive


def shown(*parts) -> str:
    """What a console prints, with single blanks in the place of line ends and paddings."""
    console = PlainConsole(file=io.StringIO(), width=140)
    for part in parts:
        console.show(part)
    return " ".join(console.file.getvalue().split())


def settings(**values) -> RunSettings:
    final = {"seeds": values.get("seeds", 2), "from_scratch": values.get("from_scratch", False)}
    return RunSettings(start=str(START), budget={"candidates": 4}, final=final)


BEATEN = (("start", None, 0.5), ("control", 0, 0.5), ("child", 0, 0.75))


def verdict_of(*pairs: tuple, searched=(0.45, 0.95)) -> list[tuple]:
    """A fresh warm start for each pair of test scores, of the start and of the winner that were trained from it.

    The archive holds ``BEATEN`` before; a pair of one score lacks the winner's.
    """
    entries: list[tuple] = [("warm", None, 0.5, COST, 0) for _ in pairs]
    entries += [("final", 1, searched[0]), ("final", 2, searched[1])]
    for number, pair in enumerate(pairs):
        entries += [("final", 3 + number, score, COST, side) for side, score in zip((0, 2), pair, strict=False)]
    return entries
