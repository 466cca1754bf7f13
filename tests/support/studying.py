"""Studies of the null task, and what they are told to train."""

import math
from dataclasses import replace

from spnas_core import Architecture
from spnas_core.morphisms import Expand, Rewrite, identity
from spnas_core.tasks import Fidelity
from spnas_search.settings import resolve
from spnas_search.studies import (
    Job,
    Study,
    Training,
    TrainingKey,
    build_task,
    resume_study,
    start_study,
)

START = Architecture.parse("b@8_11-21-21-21")
CHILD = Expand().options(START)[0]


def started(folder, *, task=None, **values) -> Study:
    values = {"task": {"name": "null", "noise": 0.1, **(task or {})}, "executor": {"name": "inline"}, **values}
    resolved = resolve(values)
    return start_study(folder, "test", resolved, build_task(resolved), lambda *_: None, own={"most": 3})


def resumed(folder, **options) -> Study:
    return resume_study(folder, "test", lambda *_: None, **options)


class Heard:
    """Remembers what it is told, and does something after so many trainings."""

    def __init__(self, after: int = -1, act=lambda: None) -> None:
        self.trainings, self.messages, self.progressed = [], [], 0
        self.after, self.act = after, act

    def message(self, text):
        self.messages.append(text)

    def progress(self, progress):
        self.progressed += 1

    def finished(self, training):
        self.trainings.append(training)
        if len(self.trainings) == self.after:
            self.act()


def scratch(code: str | Architecture = START, epochs: int = 2, repetition: int = 0, **extra) -> Job:
    rewrite = identity(Architecture.parse(str(code)))
    key = TrainingKey(str(code), "scratch", epochs, repetition, tuple(extra.items()))
    return Job(key, rewrite, Fidelity(epochs))


def heir(parent: Job, rewrite: Rewrite | None = None, epochs: int = 1, how: str = "heir") -> Job:
    rewrite = rewrite or identity(parent.rewrite.child)
    key = TrainingKey(str(rewrite.child), how, epochs, parent.key.repetition, (("from", parent.key.number),))
    return Job(key, rewrite, Fidelity(epochs), parent.key)


def line_of(length: int, repetition: int = 0) -> list[Job]:
    """A chain of expansions, one epoch each."""
    line = [scratch(epochs=1, repetition=repetition)]
    for _ in range(length):
        line.append(heir(line[-1], Expand().options(line[-1].rewrite.child)[0]))
    return line


def without_time(trainings) -> dict:
    return {key: replace(training, seconds=0.0) for key, training in trainings.items()}


def training(number: int = 0, **values) -> Training:
    given = {"metrics": {"AP": 0.1 * number, "LAMR": math.nan}, "cost": {"parameters": 7}, **values}
    return Training(TrainingKey("b@8_11-21", "scratch", 4, number), "d" * 16, number, 1, 1.5, 4, **given)
