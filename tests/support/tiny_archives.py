"""Archives of two blocks: proposals and results in one line each."""

from spnas_core.encoding import Architecture
from spnas_core.morphisms import identity, morphism
from spnas_core.tasks import Evaluation, Fidelity, MetricSpec
from spnas_search.archive import Archive, Proposal

START = Architecture.parse("b@8_1-1")
SCORE = MetricSpec("score")


def result(score: float, **cost: float) -> Evaluation:
    return Evaluation({"score": score}, cost or {"multiply_adds": 1.0})


def start(epochs: int = 2) -> Proposal:
    return Proposal("start", None, identity(START), Fidelity(epochs))


def control(parent: int = 0, epochs: int = 1, of: Architecture = START) -> Proposal:
    return Proposal("control", parent, identity(of), Fidelity(epochs))


def child(parent: int = 0, epochs: int = 1, choice: int = 0, of: Architecture = START) -> Proposal:
    return Proposal("child", parent, morphism("expand").options(of)[choice], Fidelity(epochs))


def reopened(archive: Archive) -> Archive:
    archive.close()
    return Archive.open(archive.path)
