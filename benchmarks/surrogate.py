"""What searches find among any codes, where no table can hold all architectures: a surrogate gives the scores.

    python benchmarks/surrogate.py [--searches 100] [--budgets 25,50,100] [--workers 2]

A Gaussian process is fitted to trainings on tiny objects (``tiny-scores.csv.gz``): a smooth function of what a code
looks like, a deviation of each code's own, and the luck of each training. Every search meets a world of its own, drawn
from what the trainings leave possible: another function, other deviations. It asks for scores, and its winner is judged
by what is true in its world. So strategies can be compared by hundreds of searches, as far as the fit can be trusted:
how well it predicts codes that it was not fitted to is printed first. Siems et al., "NAS-Bench-301 and the case for
surrogate benchmarks for neural architecture search", 2020; Wilson et al., "Efficiently sampling functions from Gaussian
process posteriors", ICML 2020.
"""

import argparse
import hashlib
import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import linalg, optimize

import spnas_search
from replay import compared
from replay_table import START
from screens import TINY, tau
from spnas_core import backbone_cost, hookimpl
from spnas_core.encoding import Architecture
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import Evaluation, EvaluationRequest, MetricSpec, Report, TaskPlugin
from spnas_search.replay import read_table

TITLE = "Searches among any codes, by a surrogate"
METRIC = "AP"
IMAGE_SIZE = (128, 128)
SPACE = {**TINY.space, "max_multiply_adds": "1.5x"}
MOST_STAGES = 5
Floats = NDArray[np.float64]


def features(code: str) -> list[float]:
    """Describe a code: blocks per stage and in all, doublings by each stage's first and last block, log of the cost."""
    stages = Architecture.parse(code).stages
    lacking = MOST_STAGES - len(stages)
    ends = list(accumulate(stage.count("2") for stage in stages))
    begins = [end - stage.count("2") + (stage[0] == "2") for stage, end in zip(stages, ends, strict=True)]
    blocks = [len(stage) for stage in stages]
    padded = *blocks, *[0] * lacking, *begins, *begins[-1:] * lacking, *ends, *ends[-1:] * lacking
    return [*padded, sum(blocks), math.log2(costs(code)["multiply_adds"])]


@cache
def costs(code: str) -> Mapping[str, float]:
    """Count what a code costs."""
    return backbone_cost(Architecture.parse(code), *IMAGE_SIZE).as_dict()


@dataclass(frozen=True, eq=False)
class Kernel:
    """Covariances of the scores: of a smooth function, a linear one, deviations of codes, and luck.

    Attributes:
        smooth: variance of the smooth function.
        reach: square of the distance, in standard deviations of each feature, over which it changes.
        linear: variance of the linear function's slopes.
        deviation: variance of the codes' own deviations.
        luck: variance of a training.
    """

    smooth: float
    reach: float
    linear: float
    deviation: float
    luck: float

    def between(self, rows: Floats, others: Floats) -> Floats:
        """Return [n, m] covariances of the two functions' sum."""
        width = rows.shape[1]
        squares = ((rows[:, None] - others[None]) ** 2).sum(axis=2) / width
        found: Floats = self.smooth * np.exp(-squares / (2 * self.reach)) + self.linear * rows @ others.T / width
        return found


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A fit to trainings.

    Attributes:
        kernel: most likely one.
        level: mean of all scores.
        centre: [w] mean of each feature.
        scale: [w] its standard deviation.
        owners: code of each of the n trainings.
        rows: [n, w] standardised features of these codes.
        scores: [n] less the level.
        root: [n, n] lower triangular root of the scores' covariance.
    """

    kernel: Kernel
    level: float
    centre: Floats
    scale: Floats
    owners: NDArray[np.str_]
    rows: Floats
    scores: Floats
    root: Floats

    @classmethod
    def fit(cls, trained: Mapping[str, Sequence[float]]) -> "Surrogate":
        """Fit to the scores of each code by the highest likelihood."""
        codes = list(trained)
        unique = np.array([features(code) for code in codes])
        centre, scale = unique.mean(axis=0), np.maximum(unique.std(axis=0), 1e-9)
        owner = np.repeat(np.arange(len(codes)), [len(trained[code]) for code in codes])
        rows = ((unique - centre) / scale)[owner]
        scores = np.concatenate([trained[code] for code in codes])
        level = float(scores.mean())
        alike = owner[:, None] == owner[None]

        def factor(logs: Floats) -> tuple[Kernel, Floats]:
            kernel = Kernel(*np.exp(logs))
            full = kernel.between(rows, rows) + kernel.deviation * alike + kernel.luck * np.eye(len(rows))
            return kernel, np.linalg.cholesky(full)

        def unlikelihood(logs: Floats) -> float:
            _, root = factor(logs)
            white = linalg.solve_triangular(root, scores - level, lower=True)
            return float(0.5 * white @ white + np.log(np.diagonal(root)).sum())

        spread = float(scores.var())
        begin = np.log([spread / 2, 1.0, spread / 4, spread / 8, spread / 8])
        found = optimize.minimize(unlikelihood, begin, method="Nelder-Mead", options={"maxiter": 2000})
        kernel, root = factor(found.x)
        return cls(kernel, level, centre, scale, np.array(codes)[owner], rows, scores - level, root)

    def standardised(self, codes: Sequence[str]) -> Floats:
        """Return [m, w] features of codes."""
        found: Floats = (np.array([features(code) for code in codes]) - self.centre) / self.scale
        return found

    def mean(self, codes: Sequence[str]) -> Floats:
        """Return [m] what is to be expected of codes, but for their own deviations."""
        solved = linalg.cho_solve((self.root, True), self.scores)
        found: Floats = self.level + self.kernel.between(self.standardised(codes), self.rows) @ solved
        return found


class World:
    """One of the worlds that a fit leaves possible: a draw of its posterior.

    A function and deviations are drawn from the prior, the smooth part by random Fourier features; what they miss of
    the trainings is then taken back through the covariances with these (Matheron's rule).

    Args:
        fitted: the fit.
        number: of the world.
    """

    WAVES = 1024

    def __init__(self, fitted: Surrogate, number: int) -> None:
        self._fitted = fitted
        self._number = number
        kernel, width, rng = fitted.kernel, fitted.rows.shape[1], generator("world", number)
        self._frequencies = rng.standard_normal((width, self.WAVES)) / math.sqrt(width * kernel.reach)
        self._phases = rng.uniform(0, 2 * math.pi, self.WAVES)
        self._heights = rng.standard_normal(self.WAVES) * math.sqrt(2 * kernel.smooth / self.WAVES)
        self._slopes = rng.standard_normal(width) * math.sqrt(kernel.linear / width)
        deviations = np.array([self._drawn_deviation(code) for code in fitted.owners.tolist()])
        luck = rng.standard_normal(len(fitted.rows)) * math.sqrt(kernel.luck)
        missed = fitted.scores - self._prior(fitted.rows) - deviations - luck
        self._solved = linalg.cho_solve((fitted.root, True), missed)

    def truth(self, code: str) -> float:
        """Return the score that a code's trainings scatter about."""
        fitted = self._fitted
        row = fitted.standardised([code])
        smooth = self._prior(row) + fitted.kernel.between(row, fitted.rows) @ self._solved
        learnt = fitted.kernel.deviation * self._solved[fitted.owners == code].sum()
        return float(fitted.level + smooth[0] + self._drawn_deviation(code) + learnt)

    def _prior(self, rows: Floats) -> Floats:
        found: Floats = np.cos(rows @ self._frequencies + self._phases) @ self._heights + rows @ self._slopes
        return found

    def _drawn_deviation(self, code: str) -> float:
        return float(generator(self._number, code).standard_normal() * math.sqrt(self._fitted.kernel.deviation))


def generator(*parts: object) -> np.random.Generator:
    """Return a generator that follows from all parts."""
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()))


@cache
def surrogate() -> Surrogate:
    """Fit to all trainings that there are."""
    return Surrogate.fit(trainings())


@lru_cache(4)
def world(number: int) -> World:
    """Draw a world."""
    return World(surrogate(), number)


@cache
def trainings() -> Mapping[str, Sequence[float]]:
    """Read the scores of each code."""
    table = read_table(TINY.table, "tiny")
    scored = ((code, by_age[TINY.epochs]) for code, by_age in sorted(table.trained.items()))
    return {code: [one[METRIC] for one in found.values()] for code, found in scored}


class SurrogateSettings(BaseModel):
    """The ``[task]`` table."""

    name: Literal["benchmark-surrogate"] = "benchmark-surrogate"
    world: int = 0


@dataclass(frozen=True)
class SurrogateTask:
    """Trains nothing: scores are drawn about what the surrogate holds true."""

    world: int
    image_size: tuple[int, int] = IMAGE_SIZE
    metrics: tuple[MetricSpec, ...] = (MetricSpec(METRIC),)
    known_epochs: tuple[int, ...] = (TINY.epochs,)

    def prepare(self, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
        """Nothing is to be read."""
        del cache, report
        return ()

    def evaluate(self, request: EvaluationRequest, report: Report) -> Evaluation:
        """Draw the score of one training."""
        del report
        code = str(request.rewrite.child)
        luck = generator(self.world, code, request.seed).standard_normal() * math.sqrt(surrogate().kernel.luck)
        if request.weights is not None:
            request.weights.touch()
        return Evaluation({METRIC: world(self.world).truth(code) + luck}, costs(code))


class SurrogatePlugin:
    """Registers the task for this process."""

    @hookimpl
    def spnas_register_tasks(self, register: Callable[[str, TaskPlugin], None]) -> None:
        """Register it."""
        plugin = TaskPlugin("scores of a surrogate", SurrogateSettings, lambda given: SurrogateTask(given.world))
        register("benchmark-surrogate", plugin)


ODDS = {"swap": 1.0, "expand": 0.4, "add-stage": 0.1, "remove": 0.4, "widen": 0.3, "narrow": 0.2, "halve": 0.3}
SERIAL = {"name": "serial", "n_stuck": 10**6, "odds": ODDS, "epochs": TINY.epochs}
EVOLUTION = {"name": "regularized-evolution", "odds": ODDS, "epochs": TINY.epochs}
RANDOM = {"name": "random", "epochs": TINY.epochs}
SCREEN = {"name": "prediction", "draws": 32, "optimism": 1.0}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "`random`": {"strategy": RANDOM},
    "`random`, screened": {"strategy": RANDOM, "screen": SCREEN},
    "`serial` by its defaults: explores 0.5, screened": {"strategy": SERIAL},
    "`serial`, does not explore": {"strategy": {**SERIAL, "explore": 0.0}},
    "`serial`, no screen": {"strategy": SERIAL, "screen": "none"},
    "`serial`, neither": {"strategy": {**SERIAL, "explore": 0.0}, "screen": "none"},
    "`regularized-evolution`": {"strategy": EVOLUTION},
    "`regularized-evolution`, screened": {"strategy": EVOLUTION, "screen": SCREEN},
    "`hill-climb`": {"strategy": {"name": "hill-climb", "odds": ODDS, "epochs": TINY.epochs}},
}


def gain(question: tuple[str, int, int]) -> float:
    """Search, and return what the winner is truly above the start.

    Args:
        question: arm, budget of trainings, seed of the search and of its world.
    """
    arm, budget, seed = question
    if not plugin_manager().has_plugin("benchmark-surrogate"):
        plugin_manager().register(SurrogatePlugin(), "benchmark-surrogate")
    settings = {
        "seed": seed,
        "start": START,
        "warm_start_epochs": TINY.epochs,
        "task": {"name": "benchmark-surrogate", "world": seed},
        "inherit": "none",
        "space": SPACE,
        "executor": {"name": "inline"},
        "budget": {"epochs": budget * TINY.epochs},
        "final": {"finalists": 3, "rescores": 2, "seeds": 0},
        **ARMS[arm],
    }
    if settings["strategy"]["name"] == EVOLUTION["name"]:
        settings["strategy"] = {**settings["strategy"], "population": max(4, budget // 8)}
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, spnas_search.search(**settings, out=f"{folder}/run") as run:
        winner = run.archive.winner
        assert winner is not None
        assert run.archive.epochs <= budget * TINY.epochs
        return world(seed).truth(str(winner.architecture)) - world(seed).truth(START)


def trust() -> str:
    """Say how well a surrogate predicts codes that it was not fitted to, in ten parts."""
    known = trainings()
    codes = generator("parts").permutation(list(known)).tolist()
    expected: dict[str, float] = {}
    for part in range(10):
        left_out = codes[part::10]
        fitted = Surrogate.fit({code: known[code] for code in codes if code not in left_out})
        expected |= dict(zip(left_out, fitted.mean(left_out).tolist(), strict=True))
    means = [fmean(known[code]) for code in codes]
    foreseen = [expected[code] for code in codes]
    kernel = surrogate().kernel
    return (
        f"Of {len(codes)} codes, each predicted by a fit to nine tenths of the others, Kendall's tau with their mean "
        f"scores is {tau(foreseen, means):+.2f}, Pearson's r {np.corrcoef(foreseen, means)[0, 1]:+.2f}. By the fit to "
        f"all, codes deviate by {math.sqrt(kernel.deviation):.3f} on their own, and trainings by "
        f"{math.sqrt(kernel.luck):.3f}."
    )


def lines(budgets: Sequence[int], searches: int, workers: int) -> Iterator[str]:
    """Yield the table."""
    questions = list(itertools.product(ARMS, budgets, range(searches)))
    with ProcessPoolExecutor(workers) as pool:
        found = dict(zip(questions, pool.map(gain, questions, chunksize=4), strict=True))

    def of(arm: str, budget: int) -> list[float]:
        return [found[arm, budget, seed] for seed in range(searches)]

    plain = next(iter(ARMS))
    yield "| search | " + " | ".join(f"{budget} trainings" for budget in budgets) + " |"
    yield "|---|" + "---|" * len(budgets)
    for arm in ARMS:
        cells = [compared(of(arm, budget), of(plain, budget), "greater") for budget in budgets]
        yield f"| {arm} | " + " | ".join(cells) + " |"


def run(arguments: argparse.Namespace) -> str:
    """Compare all."""
    del arguments
    return main([])


def main(arguments: Sequence[str] | None = None) -> str:
    """Search; return what the surrogate is worth, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", type=int, default=100, help="of each kind, at each budget")
    parser.add_argument("--budgets", default="25,50,100", help="trainings of a search")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)
    budgets = [int(part) for part in given.budgets.split(",")]
    return "\n".join([trust(), "", *lines(budgets, given.searches, given.workers)])


if __name__ == "__main__":
    print(main())
