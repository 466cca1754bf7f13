"""How close strategies and ranking rules come to the best architecture of a space, at equal numbers of trainings.

    python benchmarks/replay.py [--searches 200] [--budgets 25,50,100] [--data small] [--data large]

Every search replays trainings from fresh weights (`benchmarks/replay_table.py` made them): it sees some of each code's
repetitions, and its winner is judged by one that was hidden from it. A budget counts all trainings: the start, the
replicates that measure the noise, children, controls, and the re-scoring of finalists.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from scipy import stats

import spnas_search
from replay_table import DATA, EPOCHS, START
from spnas_search.replay import read_table
from spnas_search.replay.table import ENOUGH
from spnas_search.replay.task import ReplayTask
from spnas_search.statistics import mean_interval

TITLE = "Regret of searches over a replay table"
FOLDER = Path(__file__).resolve().parent
TABLE = FOLDER / "data" / "shapes-replay.csv.gz"
METRIC = "AP"
SPACE = {"min_blocks": 8, "max_blocks": 9, "min_stages": 4, "max_stages": 4, "max_multiply_adds": "none"}
ODDS = {"swap": 1.0, "expand": 0.4}


OWN: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "serial": lambda _: {"n_stuck": 10**6},
    "regularized-evolution": lambda budget: {"population": max(4, budget // 8)},
    "evolution": lambda budget: {"population": max(4, budget // 8), "initial": max(4, budget // 8)},
    "generations": lambda budget: {"generation": max(6, budget // 5), "round": max(6, budget // 5)},
    "q-learning": lambda budget: {"children": budget},
}
"""What else a strategy is told by its budget of trainings."""


@dataclass(frozen=True)
class Arm:
    """A way to search.

    Attributes:
        strategy: its settings.
        ranking: the rule.
        screen: settings of the screen; None has none.
    """

    strategy: Mapping[str, Any]
    ranking: str
    screen: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """For tables."""
        kind = self.strategy.get("survival") or self.strategy.get("grammar")
        least, most = (self.strategy.get(f"{end}_mutations", 1) for end in ("min", "max"))
        explores = self.strategy.get("explore")
        told = str(kind or ""), f"{least}-{most} steps" if most > 1 else "", f"explores {explores}" if explores else ""
        own = ", ".join(filter(None, told))
        screen = ""
        if self.screen:
            optimism = self.screen.get("optimism")
            screen = f" + {self.screen['name']}{f' (optimism {optimism:g})' if optimism else ''}"
        return f"{self.strategy['name']}{f' ({own})' if own else ''}{screen}, {self.ranking}"


def arms() -> list[Arm]:
    """Return what is compared: rules for the strategies that heed them, every other strategy by the default one."""
    serial = {"name": "serial", "epochs": EPOCHS, "odds": ODDS, "max_step": 8, "max_redraws": 100}
    serial |= {"explore": 0.0, "max_mutations": 1}
    edits = {"epochs": EPOCHS, "odds": ODDS, "max_step": 8}
    evolution = {"name": "regularized-evolution", **edits}
    climb = {"name": "hill-climb", **edits}
    far, hopeful = {"min_mutations": 2, "max_mutations": 6}, {"name": "prediction", "draws": 32, "optimism": 1.0}
    wide = {**serial, **far, "pool": 16}
    sampled = {"name": "random", "epochs": EPOCHS}
    others: list[Mapping[str, Any]] = [
        {"name": "evolution", "survival": "loser", **edits},
        {"name": "evolution", "survival": "all", "share": 0.25, **edits},
        {"name": "generations", **edits},
        {"name": "policy", "grammar": "generate", "learning_rate": 0.02, "round": 4, "epochs": EPOCHS},
        {"name": "policy", "grammar": "edit", "learning_rate": 0.2, "round": 4, **edits},
        {"name": "q-learning", "epochs": EPOCHS},
        {"name": "progressive", "epochs": EPOCHS},
    ]
    return [
        *(Arm(serial, rule) for rule in ("prediction", "traits", "lead", "gains")),
        Arm(wide, "traits"),
        *(Arm(wide, rule, hopeful) for rule in ("prediction", "traits")),
        Arm(wide, "traits", {"name": "surrogate", "draws": 32}),
        *(Arm(sampled, rule) for rule in ("prediction", "traits")),
        Arm(sampled, "traits", hopeful),
        *(Arm(evolution, rule) for rule in ("prediction", "traits")),
        Arm(evolution, "traits", hopeful),
        *(Arm(climb, rule) for rule in ("prediction", "traits")),
        *(Arm(strategy, "traits") for strategy in others),
        Arm({**serial, "explore": 0.5}, "traits", hopeful),
        Arm({**serial, "explore": 0.5, "max_mutations": 3}, "traits", hopeful),
        *(Arm({**serial, "max_mutations": 3}, "traits", screen) for screen in (None, hopeful)),
    ]


@dataclass(frozen=True)
class Question:
    """One search.

    Attributes:
        arm: number of the way to search.
        data: kind of data.
        budget: trainings.
        seed: of the search; decides, too, which repetitions are hidden.
    """

    arm: int
    data: str
    budget: int
    seed: int


def regret(question: Question) -> float:
    """Search, and return by how much the winner is worse than the best code of the table."""
    arm = arms()[question.arm]
    task = ReplayTask(TABLE, question.data, METRIC, question.seed)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        settings = {
            "seed": question.seed,
            "start": START,
            "task": {"name": "replay", "table": str(TABLE), "data": question.data, "view": question.seed},
            "strategy": {**arm.strategy, **OWN.get(str(arm.strategy["name"]), lambda _: {})(question.budget)},
            "ranking": arm.ranking,
            "inherit": "none",
            "space": SPACE,
            "executor": {"name": "inline"},
            "budget": {"epochs": question.budget * EPOCHS},
            "final": {"finalists": 3, "rescores": 2, "seeds": 0},
            "screen": arm.screen or "none",
        }
        with spnas_search.search(**settings, out=Path(folder) / "run") as run:
            winner = run.archive.winner
            assert winner is not None
            assert run.archive.epochs <= question.budget * EPOCHS
            return best(question.data) - task.truth(str(winner.architecture), EPOCHS)


@cache
def best(data: str) -> float:
    """Return the mean of the best code: the highest mean over all repetitions."""
    return max(fmean(one[METRIC] for one in ages[EPOCHS].values()) for ages in read_table(TABLE, data).trained.values())


def answers(questions: Sequence[Question], cached: Path, workers: int) -> dict[Question, float]:
    """Return the regret of every search; those that are in the file are not searched again."""
    found: dict[Question, float] = {}
    if cached.exists():
        for line in cached.read_text(encoding="utf-8").splitlines():
            *fields, value = json.loads(line)
            found[Question(*fields)] = value
    missing = [question for question in questions if question not in found]
    with ProcessPoolExecutor(workers) as pool, cached.open("a", encoding="utf-8") as file:
        for question, value in zip(missing, pool.map(regret, missing, chunksize=4), strict=True):
            found[question] = value
            fields = [question.arm, question.data, question.budget, question.seed, value]
            file.write(json.dumps(fields) + "\n")
            file.flush()
    return found


PLAIN = "random, prediction"
DEFAULT = "serial (1-3 steps, explores 0.5) + prediction (optimism 1), traits"
"""What ``serial`` does by default where nothing is inherited."""


def table(
    found: Mapping[Question, float], data: str, budgets: Sequence[int], searches: int, beside: str = PLAIN
) -> Iterator[str]:
    """Yield a table of mean regrets with 95 % intervals, and of what Mann and Whitney say of each arm and another."""
    ways = arms()
    plain = [arm.name for arm in ways].index(beside)

    def of(number: int, budget: int) -> list[float]:
        return [found[Question(number, data, budget, seed)] for seed in range(searches)]

    yield f"| {data} | " + " | ".join(f"{budget} trainings" for budget in budgets) + " |"
    yield "|---|" + "---|" * len(budgets)
    for number, arm in enumerate(ways):
        cells = [compared(of(number, budget), of(plain, budget), "less") for budget in budgets]
        yield f"| {arm.name} | " + " | ".join(cells) + " |"


def compared(found: Sequence[float], plain: Sequence[float], wanted: Literal["less", "greater"]) -> str:
    """Write a mean with its 95 % interval, and Mann and Whitney's p for what is wanted beside the plain search."""
    interval = mean_interval(found)
    test = stats.mannwhitneyu(found, plain, alternative=wanted).pvalue
    sign = "+" if wanted == "greater" else ""
    return f"{interval.mean:{sign}.4f} ± {interval.high - interval.mean:.4f} (p {test:.2g})"


def plot(found: Mapping[Question, float], names: Sequence[str], budgets: Sequence[int], searches: int) -> Path:
    """Draw mean regrets with their 95 % bands against the budget."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(names), figsize=(5.5 * len(names) + 3, 5), squeeze=False)
    strategies = list(dict.fromkeys(arm.name.rpartition(",")[0] for arm in arms()))
    for axis, data in zip(axes[0], names, strict=True):
        for number, arm in enumerate(arms()):
            rows = [
                mean_interval([found[Question(number, data, budget, seed)] for seed in range(searches)])
                for budget in budgets
            ]
            colour = plt.get_cmap("tab20")(strategies.index(arm.name.rpartition(",")[0]) % 20)
            style = {"prediction": "-", "traits": "--", "lead": "-.", "gains": ":"}[arm.ranking]
            if arm.name == DEFAULT:
                colour = "black"
            axis.plot(budgets, [row.mean for row in rows], style, color=colour, marker="o", label=arm.name)
            band = [row.low for row in rows], [row.high for row in rows]
            axis.fill_between(budgets, *band, alpha=0.08, color=colour)
        axis.set(title=f"{data} objects", xlabel="trainings", ylabel=f"regret ({METRIC})", xscale="log")
        axis.set_xticks(budgets, [str(budget) for budget in budgets])
        axis.minorticks_off()
    axes[0][-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    path = FOLDER.parent / "docs" / "replay.png"
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def run(arguments: argparse.Namespace) -> str:
    """Compare on all kinds of data that have enough trainings."""
    del arguments
    return main([])


def main(arguments: Sequence[str] | None = None) -> str:
    """Search, print and return the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=200, help="searches of each arm")
    parser.add_argument("--budgets", default="25,50,100", help="trainings of a search")
    parser.add_argument("--data", action="append", choices=DATA, help="kind of data; else all with enough trainings")
    parser.add_argument(
        "--beside", default=PLAIN, choices=[arm.name for arm in arms()], metavar="ARM", help="what p is of being below"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--work", type=Path, default=Path("runs/replay.jsonl"), help="results so far")
    given = parser.parse_args(arguments)
    budgets = [int(part) for part in given.budgets.split(",")]
    fewest = {data: read_table(TABLE, data).fewest for data in given.data or DATA}
    names = given.data or [data for data, number in fewest.items() if number >= ENOUGH]
    lacking = [data for data in names or fewest if fewest[data] < ENOUGH]
    if lacking:
        parser.error(
            f"the table has {fewest[lacking[0]]} trainings of some codes on {lacking[0]} objects, and a search sees no "
            f"noise with fewer than {ENOUGH}: train more by benchmarks/replay_table.py"
        )
    given.work.parent.mkdir(parents=True, exist_ok=True)
    questions = [
        Question(*parts) for parts in itertools.product(range(len(arms())), names, budgets, range(given.searches))
    ]
    found = answers(questions, given.work, given.workers)
    text = "\n\n".join("\n".join(table(found, data, budgets, given.searches, given.beside)) for data in names)
    return f"{text}\n\n![Regret against trainings]({plot(found, names, budgets, given.searches).name})"


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    print(main())
