"""Everything that a run knows: its candidates, their ranks, their weights, and who may write."""

from spnas_search.archive.archive import TEST_IMAGES, Archive
from spnas_search.archive.candidate import (
    ENDING,
    HEIRLESS,
    NODES,
    OFFSPRING,
    Candidate,
    Inherit,
    Kind,
    Phase,
    Proposal,
    Status,
)
from spnas_search.archive.lock import RunLock
from spnas_search.archive.standing import Place
from spnas_search.archive.tradeoffs import Tradeoff
from spnas_search.archive.weights import NO_WEIGHTS, WeightStore

__all__ = [
    "ENDING",
    "HEIRLESS",
    "NODES",
    "NO_WEIGHTS",
    "OFFSPRING",
    "TEST_IMAGES",
    "Archive",
    "Candidate",
    "Inherit",
    "Kind",
    "Phase",
    "Place",
    "Proposal",
    "RunLock",
    "Status",
    "Tradeoff",
    "WeightStore",
]
