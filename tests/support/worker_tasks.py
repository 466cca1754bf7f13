"""Tasks that worker processes unpickle: those import what lies here, and no test module."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from waiting import wait_until

from spnas_core.errors import DataError
from spnas_core.tasks import Evaluation
from spnas_search.testing import NullTask


@dataclass(frozen=True)
class Devices(NullTask):
    """Says which device its process sees, and waits for the other ones to have begun."""

    meeting: Path = Path()

    def evaluate(self, request, report):
        (self.meeting / str(request.candidate)).touch()
        assert wait_until(lambda: len(list(self.meeting.iterdir())) >= 3)
        return Evaluation({"device": float(os.environ["CUDA_VISIBLE_DEVICES"])}, {})


class UnreadableError(Exception):
    """Can be pickled, and not be read again: as all exceptions whose constructors take more than they tell."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} {where}")


@dataclass(frozen=True)
class Unreadable(NullTask):
    """Returns things that other processes cannot read, for two candidates."""

    def evaluate(self, request, report):
        found = super().evaluate(request, report)
        odd = {1: UnreadableError("no", "image"), 2: lambda: None}.get(request.candidate, "nothing")
        return replace(found, receipt={"warning": odd})


@dataclass(frozen=True)
class PreparedElsewhere(NullTask):
    """Has been prepared on another machine; takes a while to be prepared here, and says so."""

    place: Path | None = None
    fails: bool = False
    fingerprint: str = "the same"

    def is_prepared_here(self):
        return self.place is not None

    def prepare(self, cache, report):
        if self.fails:
            raise DataError("no images")
        with (cache / "prepared").open("a") as file:
            file.write("once\n")
        time.sleep(0.3)
        object.__setattr__(self, "place", cache)
        report("images", 1, 1)
        return ()
