"""A plugin that is well-behaved until a file says otherwise: a mood comes and goes while a search runs.

The file is named by the environment variable ``SPNAS_TEST_MOOD``; worker processes look there, too. It holds a JSON
object: ``task``, what evaluations do; ``strategy``, what proposals are made of; ``data``, the data's fingerprint.
"""

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any, Literal

import odd_plugin

import spnas_core
from spnas_core.morphisms import Expand
from spnas_core.tasks import TaskPlugin
from spnas_search.strategies import Serial, SerialSettings, StrategyPlugin
from spnas_search.testing import NullSettings, NullTask

VARIABLE = "SPNAS_TEST_MOOD"


def mood(of: str) -> str | None:
    """What the file says of one of the three; None where there is no file."""
    try:
        return json.loads(Path(os.environ[VARIABLE]).read_text()).get(of)
    except (KeyError, FileNotFoundError):
        return None


class MoodySettings(NullSettings):
    name: Literal["moody"] = "moody"

    def build(self) -> "MoodyTask":
        return MoodyTask(self.noise, self.half_life, self.duration, self.image_size, self.behaviour)


class MoodyTask(NullTask):
    """The null task with moods."""

    @property
    def fingerprint(self) -> str:
        return mood("data") or "the same images"

    def evaluate(self, request, report):
        wanted = mood("task")
        if wanted == "raise":
            raise RuntimeError(f"candidate {request.candidate} is in no mood")
        if wanted == "full":
            raise OSError(errno.ENOSPC, "No space left on device", "/data/cache")
        if wanted == "hang":
            time.sleep(600)
        if wanted == "exit":
            os._exit(3)
        if wanted == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        good = super().evaluate(request, report)
        return odd_plugin.EVALUATIONS[wanted](good) if wanted in odd_plugin.EVALUATIONS else good


class MoodyStrategySettings(SerialSettings):
    name: Literal["moody"] = "moody"


class MoodySerial(Serial):
    """The serial strategy with moods."""

    def propose(self, archive, rng):
        wanted = mood("strategy")
        if wanted is None:
            return super().propose(archive, rng)
        children = list(Expand().options(archive.start.architecture))
        return odd_plugin.PROPOSALS[wanted](odd_plugin.Made(archive, archive.start, children))


@spnas_core.hookimpl
def spnas_register_strategies(register):
    register("moody", StrategyPlugin("serial, with moods", MoodyStrategySettings, MoodySerial))


@spnas_core.hookimpl
def spnas_register_tasks(register):
    register("moody", TaskPlugin("the null task, with moods", MoodySettings, MoodySettings.build))


@spnas_core.hookimpl
def spnas_candidate_finished(candidate: Any):
    if mood("listener"):
        raise RuntimeError(f"tired of listening, {candidate.id}")
