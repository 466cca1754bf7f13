"""A plugin that does everything wrong that a plugin can: its settings say what, and at which candidate."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

import spnas_core
from spnas_core.encoding import Architecture
from spnas_core.morphisms import Expand, Rewrite, identity
from spnas_core.tasks import Fidelity, Pretraining, TaskPlugin
from spnas_search.archive import Proposal
from spnas_search.strategies import StrategyPlugin
from spnas_search.testing import NullTask

EVALUATIONS = {
    "metric none": lambda good: replace(good, metrics={"score": None}),
    "metric text": lambda good: replace(good, metrics={"score": "0.5"}),
    "metric infinite": lambda good: replace(good, metrics={"score": math.inf}),
    "metric array": lambda good: replace(good, metrics={"score": np.zeros(3)}),
    "metric tensor": lambda good: replace(good, metrics={"score": torch.zeros(2)}),
    "metric complex": lambda good: replace(good, metrics={"score": 1j}),
    "metric name": lambda good: replace(good, metrics={**good.metrics, 3: 0.5}),
    "metric huge": lambda good: replace(good, metrics={"score": 10**400}),
    "metric endless": lambda good: replace(good, metrics={"score": 10**5000}),
    "no metrics": lambda good: replace(good, metrics={}),
    "other metrics": lambda good: replace(good, metrics={"scores": 0.5}),
    "metrics list": lambda good: replace(good, metrics=[0.5]),
    "metrics none": lambda good: replace(good, metrics=None),
    "cost none": lambda good: replace(good, cost={"multiply_adds": None}),
    "cost text": lambda good: replace(good, cost={"multiply_adds": "many"}),
    "cost infinite": lambda good: replace(good, cost={"multiply_adds": math.inf}),
    "cost huge": lambda good: replace(good, cost={"multiply_adds": 10**400}),
    "receipt huge": lambda good: replace(good, receipt={"inherited_percent": 10**400}),
    "receipt object": lambda good: replace(good, receipt={"module": object()}),
    "receipt keys": lambda good: replace(good, receipt={("a", "b"): 1}),
    "seconds none": lambda good: replace(good, seconds=None),
    "seconds negative": lambda good: replace(good, seconds=-1.0),
    "seconds nan": lambda good: replace(good, seconds=math.nan),
    "nothing": lambda good: None,
    "raises surrogate": lambda good: _raise(ValueError("\udcff \x1b[2J [/data/photo.jpg] [bold]\nmore")),
}
PLAIN = {
    "numpy numbers": lambda good: replace(
        good,
        metrics={name: np.float32(value) for name, value in good.metrics.items()},
        cost={name: np.int64(value) for name, value in good.cost.items()},
        receipt={"a": np.arange(2), "b": torch.ones(2), "c": (1, 2), "d": {"e": np.nan}},
        seconds=np.float64(0.5),
    ),
    "tensors": lambda good: replace(good, metrics={n: torch.tensor(float(v)) for n, v in good.metrics.items()}),
    "undefined": lambda good: replace(good, cost={**good.cost, "latency": math.nan}, receipt={"change": math.nan}),
}


def _raise(error: Exception) -> Any:
    raise error


CONTROLS = -1
"""In the place of a candidate: every control of the search."""


class OddTaskSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["odd"] = "odd"
    mode: str = ""
    at: int = 3
    fingerprint: str = "these images"


class OddTask(NullTask):
    """The null task, but for one candidate's result and what it says of its data."""

    def __init__(self, settings: OddTaskSettings) -> None:
        super().__init__()
        object.__setattr__(self, "_settings", settings)

    @property
    def fingerprint(self) -> str:
        return self._settings.fingerprint

    def evaluate(self, request, report):
        good = super().evaluate(request, report)
        is_control = request.candidate > 2 and not request.rewrite.steps and request.split == "validation"
        if request.candidate != self._settings.at and not (self._settings.at == CONTROLS and is_control):
            return good
        return {**EVALUATIONS, **PLAIN}[self._settings.mode](good)


@dataclass
class Made:
    """What a proposal may be made of."""

    archive: Any
    start: Any
    children: list[Rewrite]


def _child(made: Made, place: int = 0, **changes: Any) -> Proposal:
    return replace(Proposal("child", 0, made.children[place], Fidelity(1)), **changes)


def _for(**changes: Any) -> Fidelity:
    """A fidelity that looks as it should not."""
    fidelity = Fidelity(1)
    for name, value in changes.items():
        object.__setattr__(fidelity, name, value)
    return fidelity


def _with_rewrite(made: Made, **changes: Any) -> Proposal:
    rewrite = made.children[0]
    for name, value in changes.items():
        object.__setattr__(rewrite, name, value)
    return _child(made, rewrite=rewrite)


BIG = Architecture.parse("b@8_" + "1" * 70 + "-21-21-21")

PROPOSALS = {
    "raises": lambda made: _raise(RuntimeError("no idea [/today]")),
    "returns none": lambda made: None,
    "returns text": lambda made: "child",
    "writes": lambda made: made.start.metrics.update(score=0.0),
    "holds none": lambda made: [None],
    "holds texts": lambda made: ["child"],
    "test images": lambda made: [_child(made, split="test")],
    "unknown split": lambda made: [_child(made, split="tset")],
    "twice": lambda made: [_child(made), _child(made)],
    "known": lambda made: [_child(made, rewrite=identity(made.start.architecture))],
    "outside": lambda made: [_child(made, rewrite=Rewrite(made.start.architecture, BIG, (None,) * 76))],
    "control": lambda made: [_child(made, kind="control", rewrite=identity(made.start.architecture))],
    "final": lambda made: [_child(made, kind="final", split="test", rewrite=identity(made.start.architecture))],
    "start": lambda made: [_child(made, kind="start", parent=None)],
    "no parent": lambda made: [_child(made, parent=None)],
    "unknown parent": lambda made: [_child(made, parent=99)],
    "negative parent": lambda made: [_child(made, parent=-1)],
    "text parent": lambda made: [_child(made, parent="0")],
    "control parent": lambda made: [_child(made, parent=1)],
    "half epochs": lambda made: [_child(made, fidelity=_for(epochs=1.5))],
    "no epochs": lambda made: [_child(made, fidelity=None)],
    "no share": lambda made: [_child(made, fidelity=_for(share=math.nan))],
    "tiny images": lambda made: [_child(made, fidelity=_for(image_size=(8, 8)))],
    "three sides": lambda made: [_child(made, fidelity=_for(image_size=(64, 64, 3)))],
    "a rung": lambda made: [_child(made, fidelity=Fidelity(1, rung=1))],
    "a subject": lambda made: [_child(made, subject=0)],
    "strategy too many": lambda made: [_child(made, strategy=1)],
    "negative strategy": lambda made: [_child(made, strategy=-1)],
    "huge strategy": lambda made: [_child(made, strategy=2**63)],
    "huge parent": lambda made: [_child(made, parent=-(2**70))],
    "huge epochs": lambda made: [_child(made, fidelity=Fidelity(2**70))],
    "huge images": lambda made: [_child(made, fidelity=Fidelity(1, (2**70, 2**70)))],
    "huge block map": lambda made: [_with_rewrite(made, block_map=(2**70,) * 9)],
    "huge pretraining": lambda made: [_child(made, kind="reignition", pretraining=Pretraining(2**70))],
    "no preference": lambda made: [_child(made, preference="high")],
    "negative epochs": lambda made: [_child(made, fidelity=_for(epochs=-1))],
    "other ends": lambda made: [_child(made, rewrite=identity(Architecture.parse("b@8_1-1-1-1")))],
    "no rewrite": lambda made: [_child(made, rewrite="b@8_1-1-1-1")],
    "text child": lambda made: [_with_rewrite(made, child="b@8_111-21-21-21")],
    "block map": lambda made: [_with_rewrite(made, block_map=tuple("abcdefghi"))],
    "steps": lambda made: [_with_rewrite(made, steps=("expand",))],
}

STUCK = {"false": False, "zero": 0, "nothing": "", "a blank": " ", "a list": [], "true": True}
"""What a strategy may not say of being stuck."""


class OddSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: Literal["odd"] = "odd"
    mode: str = ""
    round: Any = 2
    epochs: Any = 1


class Odd:
    """Proposes single expansions of the start, but for what its mode says."""

    def __init__(self, settings: OddSettings, space) -> None:
        self.settings = settings

    def propose(self, archive, rng):
        start = archive.start
        children = [option for option in Expand().options(start.architecture) if not archive.contains(option.child)]
        made = Made(archive, start, children)
        if self.settings.mode == "numpy":
            ids, fidelity = np.array([start.id]), Fidelity(rng.integers(1, 4))
            return [_child(made, parent=rng.choice(ids), fidelity=fidelity) for _ in range(len(children) > 0)]
        return PROPOSALS[self.settings.mode](made) if self.settings.mode in PROPOSALS else [_child(made)]

    def stuck(self, archive):
        if self.settings.mode == "stuck writes":
            archive.start.metrics["score"] = 0.0
        if self.settings.mode == "stuck raises":
            raise KeyError("stuck")
        return STUCK.get(self.settings.mode.removeprefix("stuck "))

    def may_use(self, archive):
        if self.settings.mode == "may use garbage":
            return {"all of them"}
        if self.settings.mode == "may use unknown":
            return {len(archive) + 5}
        return frozenset({archive.start.id})


class Silent:
    """Says neither how large its rounds are nor how long its children train."""

    def __init__(self, settings, space) -> None:
        self.wrapped = Odd(OddSettings(), space)

    def __getattr__(self, name):
        if name in {"propose", "stuck", "may_use"}:
            return getattr(self.wrapped, name)
        raise AttributeError(name)


class SilentSettings(BaseModel):
    name: Literal["silent"] = "silent"


@spnas_core.hookimpl
def spnas_register_strategies(register):
    register("odd", StrategyPlugin("everything that a strategy must not do", OddSettings, Odd))
    register("silent", StrategyPlugin("says too little", SilentSettings, Silent))


@spnas_core.hookimpl
def spnas_register_tasks(register):
    register("odd", TaskPlugin("everything that a task must not return", OddTaskSettings, OddTask))


class FailingListener:
    """Listens, and fails at every event."""

    @spnas_core.hookimpl
    def spnas_run_started(self, run):
        raise RuntimeError("[/started]")

    @spnas_core.hookimpl
    def spnas_candidate_finished(self, candidate):
        raise SystemExit(7)

    @spnas_core.hookimpl
    def spnas_run_finished(self):
        raise KeyError("finished")


class WritingListener:
    """Rounds the scores that it is told of, for a dashboard."""

    @spnas_core.hookimpl
    def spnas_candidate_finished(self, candidate):
        candidate.metrics["score"] = round(candidate.metrics["score"], 1)
