"""The ranking model as a screen: extended to children that do not exist yet."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spnas_core.configuration import Few, Table
from spnas_core.cost import backbone_cost
from spnas_core.space import SearchSpace
from spnas_search.archive import Archive, Proposal


class PredictionScreenSettings(Table):
    """The ``[screen]`` table of the screen ``prediction``.

    Attributes:
        name: the screen's name.
        draws: rounds of children that are drawn for one that is trained.
        optimism: standard errors that are added to a prediction: more explores more.
    """

    name: Literal["prediction"] = "prediction"
    draws: Few = Field(4, ge=1)
    optimism: float = Field(0.0, ge=0, le=10)


class PredictionScreen:
    """Prefers children by their predicted lead.

    A child's lead is its parent's, and what its morphisms, its cost and the places of its blocks have meant so far.

    Args:
        settings: the ``[screen]`` table.
        space: bounds of the search; knows the image size at which costs are counted.
    """

    def __init__(self, settings: PredictionScreenSettings, space: SearchSpace) -> None:
        self.settings = settings
        self.space = space

    def preferences(self, archive: Archive, proposals: Sequence[Proposal]) -> Sequence[float]:
        """Predict the leads of children, if these are right by ``optimism`` standard errors."""
        leads, errors = self._predicted(archive, proposals)
        hopes = leads + self.settings.optimism * np.nan_to_num(errors)  # unknown where hardly anything was scored
        return [float(value) for value in hopes]

    def expectations(self, archive: Archive, proposals: Sequence[Proposal]) -> Sequence[float]:
        """Predict the leads of children, without optimism."""
        leads, _ = self._predicted(archive, proposals)
        return [float(value) for value in leads]

    def _predicted(
        self, archive: Archive, proposals: Sequence[Proposal]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        costs = [backbone_cost(one.rewrite.child, *self.space.image_size).multiply_adds for one in proposals]
        return archive.predict(proposals, costs)
