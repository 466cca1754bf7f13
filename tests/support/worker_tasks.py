"""Tasks that worker processes unpickle: those import what lies here, and no test module."""

import os
from dataclasses import dataclass
from pathlib import Path

from waiting import wait_until

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
