"""A screen that learns from all scores what a code is worth, whoever its parent is.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from spnas_core.configuration import Few, Table
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Proposal
from spnas_search.surrogate import predicted_leads


class SurrogateScreenSettings(Table):
    """The ``[screen]`` table of the surrogate.

    Attributes:
        name: the screen's name.
        draws: rounds of children that are drawn for one that is trained.
    """

    name: Literal["surrogate"] = "surrogate"
    draws: Few = Field(4, ge=1)


class SurrogateScreen:
    """Prefers children by the lead that a ridge regression on their codes predicts; see ``spnas_search.surrogate``.

    It differs from ``prediction``, which follows descent and morphisms: here equal codes have equal predictions. With
    fewer than 4 scores it has no preference, and the children that were drawn first are taken.

    Args:
        settings: the ``[screen]`` table.
        space: bounds of the search; knows the image size at which costs are counted.
    """

    def __init__(self, settings: SurrogateScreenSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space

    def preferences(self, archive: Archive, proposals: Sequence[Proposal]) -> Sequence[float]:
        """Predict the leads of children."""
        predicted = predicted_leads(archive, [one.rewrite.child for one in proposals], self.space.image_size)
        return [float(lead) for lead in predicted]
