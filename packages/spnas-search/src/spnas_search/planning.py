"""What a search will take, before it is begun: from a short probe, and from a search with made-up scores."""

import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import DataError, EvaluationError
from spnas_core.machine import peak_memory
from spnas_core.morphisms import Rewrite, identity
from spnas_core.plugins import built
from spnas_core.tasks import EvaluationRequest, Fidelity, Task, known_epochs
from spnas_search.archive import ENDING, OFFSPRING, Candidate
from spnas_search.driver import run_search
from spnas_search.executors import Executor, executor_plugin, places
from spnas_search.executors.evaluation import evaluate
from spnas_search.executors.resources import Resources, share_cores
from spnas_search.monitors import Silent
from spnas_search.run import checked_task, start_run
from spnas_search.run.folder import Prepare
from spnas_search.run.latency import LATENCY
from spnas_search.settings import ResolvedSettings, resolve, suit

LONG_ENOUGH = 5.0
"""Seconds that a probe trains at least, where the data suffices."""

MOST_CHILDREN = 1000
"""Of a search that hours alone bound, as far as it is foreseen."""

FIRST_SHARE = 1 / 64
GROWTH = 4
"""Shares of the training images that a probe tries, one after the other, until it is long enough."""


@dataclass(frozen=True)
class Phase:
    """Evaluations of one phase.

    Attributes:
        name: of the phase.
        evaluations: how many.
        epochs: of training, all together.
        seconds: of one worker, all together.
    """

    name: str
    evaluations: int
    epochs: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a search will take.

    Attributes:
        phases: in order.
        workers: evaluations at a time, as many as have a place now.
        seconds: until its end, with all workers busy.
        preparation: seconds that reading the data has taken; a run that finds the cache does not take them again.
        cache: bytes of cached data.
        weights: bytes of the weights that are kept at most.
        memory: bytes of all workers.
        device_memory: bytes that one evaluation takes on its GPU; 0 without one.
        ends_by: what bounds it besides; empty where nothing does.
        remark: why there are fewer workers than the settings say; empty where there are not.
    """

    phases: tuple[Phase, ...]
    workers: int
    seconds: float
    preparation: float
    cache: int
    weights: int
    memory: int
    device_memory: int
    ends_by: str = ""
    remark: str = ""


@dataclass(frozen=True)
class _Speed:
    """Seconds of an evaluation: ``fixed`` for scoring and building, and per epoch a line in the multiply-adds."""

    fixed: float
    per_epoch: float
    per_multiply_add: float

    def seconds(self, epochs: int, multiply_adds: float) -> float:
        return self.fixed + epochs * max(0.0, self.per_epoch + self.per_multiply_add * multiply_adds)


def plan_search(values: Mapping[str, Any], prepare: Prepare, *, cache: Path | None = None) -> Plan:
    """Foresee a search.

    What it will evaluate is counted in a search with made-up scores, by the same strategy, budget and seed; a real one
    decides otherwise, but takes about as much. How long that takes is measured: the start and the largest network of
    that search are trained for some seconds each, alone, with the threads that an evaluation has, and the time of an
    epoch is a line through both in their multiply-adds. Workers that slow one another down are not foreseen, nor is a
    cluster that grows: it is asked how many have a place now. Where hours are the only bound, as many children are
    foreseen as these have time for.

    Args:
        values: the configuration, as ``start_run`` takes it.
        prepare: told how far reading the data is.
        cache: folder of cached data, which stays; by default a temporary one.

    Raises:
        SpnasError: the configuration or the data is wrong.
        EvaluationError: the probe cannot be trained.
    """
    resolve(values)
    suited, _ = suit(values)
    settings = resolve(suited)
    suited = {**suited, "strategy": settings.settled().as_dict()["strategy"]}  # by the bounds that were given
    with tempfile.TemporaryDirectory(prefix="spnas-") as name:
        folder = cache or Path(name) / "cache"
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        before = _bytes(folder)
        task = checked_task(settings, Path(name), prepare, folder)
        preparation = time.monotonic() - began
        budget = {key: bound for key, bound in suited.get("budget", {}).items() if key != "hours"}
        if "epochs" in budget and settings.run.budget.hours is not None:
            budget.setdefault("candidates", MOST_CHILDREN)  # hours bound children that take no epochs
        foreseen, kept, side_by_side = _foreseen(suited, task, Path(name) / "run", budget)
        resources = share_cores(settings.executor, side_by_side)
        speed, weights = _probed(task, settings, foreseen, resources.threads, Path(name))
        workers, remark = _workers(settings, task, resources)
        phases = tuple(_phases(foreseen, speed, task))
        if settings.run.budget.hours is not None and not budget:
            children = sum(one.kind in OFFSPRING for one in foreseen)
            budget = {"candidates": _fitting(phases, children, 3600 * settings.run.budget.hours * workers)}
            foreseen, kept, _ = _foreseen(suited, task, Path(name) / "bounded", budget)
            phases = tuple(_phases(foreseen, speed, task))
        return Plan(
            phases,
            workers,
            sum(phase.seconds for phase in phases) / workers,
            preparation,
            max(0, _bytes(folder) - (before if cache else 0)),
            weights * kept,
            peak_memory() * workers,
            torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
            _bound(settings, phases),
            remark,
        )


def _workers(settings: ResolvedSettings, task: Task, resources: Resources) -> tuple[int, str]:
    """Return how many evaluations have a place as things are now, and why not as many as are handed out.

    Only an executor that has ``slots`` of its own may have fewer: it is entered, and asked.
    """
    name, most = settings.executor.name, resources.workers
    if executor_plugin(name).slots is None:
        return most, resources.remark
    executor: Executor
    with built("executors", name, settings.executor, task, most, lambda _: None) as executor:
        found = places(executor)
    if found >= most:
        return most, resources.remark
    return found, f"the executor {name!r} has a place for {found} now, of {most} evaluations at a time"


def _fitting(phases: Sequence[Phase], children: int, seconds: float) -> int:
    """Return how many children a search has time for, at most ``MOST_CHILDREN``.

    Args:
        phases: of a search with some children.
        children: how many.
        seconds: of all workers together.
    """
    spent = {phase.name: phase.seconds for phase in phases if phase.name not in ENDING}
    searching = spent.pop("search", 0.0)
    if not children or not searching:  # nothing takes time
        return MOST_CHILDREN
    fitting = (seconds - sum(spent.values())) * children / searching
    return math.ceil(min(float(MOST_CHILDREN), max(0.0, fitting)))


def _foreseen(
    values: Mapping[str, Any], task: Task, out: Path, budget: Mapping[str, Any]
) -> tuple[list[Candidate], int, int | None]:
    """Search with made-up scores; return all evaluations, how many weights were kept at most, and ``side_by_side``."""
    space = {key: bound for key, bound in values.get("space", {}).items() if "latency" not in key}
    null = {"name": "null", "noise": 0.01, "image_size": list(task.image_size)}
    other = {"task": null, "executor": {"name": "inline"}, "budget": budget, "space": space, "objective": "score"}
    plain = {key: value for key, value in values.items() if key not in {"init", "pareto", "executor"}}
    plain["strategy"] = _of_counted_cost(plain.get("strategy", {}))
    most = _Most()
    with start_run(out, {**plain, **other}, lambda *_: None) as run:
        most.folder = run.files.weights
        run_search(run, most)
        return list(run.archive), most.files, run.side_by_side


def _of_counted_cost(table: Any) -> Any:
    """Return the table of a strategy, or of several, that weigh latency no more: a made-up search measures none."""
    if isinstance(table, list):
        return [_of_counted_cost(one) for one in table]
    if not isinstance(table, Mapping):
        return table
    found = {key: _of_counted_cost(value) for key, value in table.items()}
    if found.get("cost") == LATENCY:
        found = {key: value for key, value in found.items() if key not in {"cost", "cost_target"}}
    return found


class _Most(Silent):
    """Counts the weights that lie there when a round begins."""

    folder = Path()
    files = 0

    def round_started(self, phase: str, candidates: Sequence[Candidate]) -> None:
        """Count them."""
        del phase
        self.files = max(self.files, sum(1 for _ in self.folder.glob("*.safetensors")) + len(candidates))


def _probed(
    task: Task, settings: ResolvedSettings, foreseen: Sequence[Candidate], threads: int, folder: Path
) -> tuple[_Speed, int]:
    """Measure; return the speed and the bytes of the largest weights."""
    if known_epochs(task) is not None:  # nothing is trained
        return _Speed(0, 0, 0), 0
    start = Architecture.parse(settings.run.start)
    weights = folder / "probe.safetensors"
    costs = {one.architecture: backbone_cost(one.architecture, *task.image_size) for one in foreseen}
    cost = {architecture: found.multiply_adds for architecture, found in costs.items()}
    largest = max(cost, key=lambda architecture: cost[architecture])
    heavier = max(found.parameters for found in costs.values()) - costs[start].parameters

    def seconds(rewrite: Rewrite, fidelity: Fidelity, file: Path | None = None) -> float:
        began = time.monotonic()
        request = EvaluationRequest(0, rewrite, None, file, fidelity, 0, threads)
        outcome = evaluate(task, request, lambda _: None)
        if outcome.evaluation is None:
            raise EvaluationError(f"the probe of {rewrite.child} failed: {outcome.reason}")
        return time.monotonic() - began

    def of_an_epoch(architecture: Architecture) -> tuple[float, float]:
        rewrite, share = identity(architecture), FIRST_SHARE
        fixed = min(seconds(rewrite, Fidelity(0), weights) for _ in range(2))
        while True:
            try:
                trained = seconds(rewrite, Fidelity(1, share=share)) - fixed
            except DataError:  # so few images make no batch
                if share >= 1:
                    raise
                trained = 0.0
            if share >= 1 or trained >= LONG_ENOUGH:
                return fixed, max(0.0, trained) / share
            share = min(1.0, share * GROWTH)

    fixed, small = of_an_epoch(start)
    size = weights.stat().st_size
    size += heavier * torch.float32.itemsize if size else 0
    slope = 0.0
    if cost[largest] > cost[start]:
        _, large = of_an_epoch(largest)
        slope = max(0.0, (large - small) / (cost[largest] - cost[start]))
    return _Speed(fixed, small - slope * cost[start], slope), size


def _phases(foreseen: Sequence[Candidate], speed: _Speed, task: Task) -> Iterator[Phase]:
    """Sum up by phase."""
    names = dict.fromkeys(one.phase for one in foreseen)
    for name in names:
        own = [one for one in foreseen if one.phase == name]
        spent = 0.0
        for one in own:
            cost = backbone_cost(one.architecture, *task.image_size).multiply_adds
            extra = one.pretraining.epochs if one.pretraining else 0
            spent += speed.seconds(one.epochs + extra, cost)
        yield Phase(name, len(own), sum(one.epochs for one in own), spent)


def _bound(settings: ResolvedSettings, phases: Sequence[Phase]) -> str:
    hours = settings.run.budget.hours
    if hours is None:
        return ""
    if hours * 3600 < sum(phase.seconds for phase in phases if phase.name == "start"):
        return f"its budget of {hours:g} hours is over before the warm start is: no child would be evaluated"
    return f"its budget of {hours:g} hours ends it at the latest"


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
