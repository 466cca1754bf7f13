"""Reignition: when a search is stuck, its best candidate is pretrained on classification, and becomes a parent again.

Jiang et al., "SP-NAS: Serial-to-Parallel Backbone Search for Object Detection", CVPR 2020.
"""

from dataclasses import replace

from pydantic import Field

from spnas_core.configuration import Count, Table
from spnas_core.morphisms import Step, identity
from spnas_core.tasks import Fidelity, Pretraining
from spnas_search.archive import Archive, Candidate, Proposal


class ReignitionSettings(Table):
    """The ``[strategy.reignition]`` table.

    Attributes:
        most: reignitions of a search; 0 has none.
        pretrain_epochs: of classification.
        epochs: of detection after it; 0 means as many as a child's.
        fresh: whether the backbone begins with fresh weights, and not with those that the search has found.
        n_after: the next so many children have the reignited candidate as their parent, even if it is worse at first.
    """

    most: Count = Field(0, ge=0)
    pretrain_epochs: Count = Field(8, ge=1)
    epochs: Count = Field(0, ge=0)
    fresh: bool = False
    n_after: Count = Field(4, ge=0)


class Reignition:
    """Where a search stands with its reignitions: everything follows from the archive.

    Args:
        settings: how many, and what they are.
        epochs: that a child is trained.
        of_earlier: whether the children of a strategy descend from what an earlier one has reignited, too.
    """

    def __init__(self, settings: ReignitionSettings, epochs: int, *, of_earlier: bool = False) -> None:
        self._settings = settings
        self._of_earlier = of_earlier
        self._epochs = settings.epochs or epochs

    def is_left(self, archive: Archive) -> bool:
        """Whether another one may follow; those that have failed count."""
        return len(archive.of_kind("reignition")) < self._settings.most and bool(archive.best(1))

    def propose(self, archive: Archive) -> list[Proposal]:
        """Reignite the best candidate."""
        best = archive.best(1)[0]
        begin = "fresh weights" if self._settings.fresh else "its weights"
        detail = f"pretrained for {self._settings.pretrain_epochs} epochs from {begin}"
        rewrite = replace(identity(best.architecture), steps=(Step("reignite", detail, None),))
        pretraining = Pretraining(self._settings.pretrain_epochs, self._settings.fresh)
        return [Proposal("reignition", best.id, rewrite, Fidelity(self._epochs), pretraining=pretraining)]

    def parent(self, archive: Archive) -> Candidate | None:
        """The reignited candidate while the next children are to be its own; else None."""
        last = self._last(archive)
        return None if last is None or archive.lead(last) is None or not self.heirs_left(archive) else last

    def heirs_left(self, archive: Archive) -> int:
        """How many of the next children are to be the reignited candidate's own."""
        last = self._last(archive)
        since = 0 if last is None else sum(child.id > last.id for child in archive.of_kind("child"))
        return max(0, self._settings.n_after - since)

    def may_use(self, archive: Archive) -> frozenset[int]:
        """The last one."""
        last = self._last(archive)
        return frozenset() if last is None else frozenset({last.id})

    def _last(self, archive: Archive) -> Candidate | None:
        """The last reignition, of the strategy that has proposed last or of any; none where it has failed."""
        found = [one for one in archive.of_kind("reignition") if self._of_earlier or one.strategy == archive.strategy]
        return next((one for one in found[-1:] if one.status == "done"), None)
