"""A surrogate of training: what the codes that were trained say of codes that were not.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018, learn such a predictor with networks; from tens of
scores a ridge regression is what can be learned.
"""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_search.archive import Archive
from spnas_search.statistics import fit_ridge

FEWEST = 4
"""With fewer scores nothing is said."""


def predicted_leads(
    archive: Archive, architectures: Sequence[Architecture], image_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Predict the leads of architectures from the leads of all that the archive has ranked.

    Args:
        archive: of the search; start, children and reignitions with a lead count, failed ones do not.
        architectures: whatever codes, n of them.
        image_size: (width, height) in pixels at which costs are counted.

    Returns:
        float64[n]; all alike, the mean of what there is or 0, where fewer than 4 candidates have a lead.
    """
    leads = [(one.architecture, lead) for one in archive if (lead := archive.lead(one)) is not None]
    if len(leads) < FEWEST or not architectures:
        return np.full(len(architectures), np.mean([lead for _, lead in leads]) if leads else 0.0)
    rows = code_features([*(code for code, _ in leads), *architectures], image_size)
    fit = fit_ridge(rows[: len(leads)], np.array([lead for _, lead in leads]))
    return fit.predict(rows[len(leads) :])


def code_features(architectures: Sequence[Architecture], image_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return what the surrogate knows of architectures, a row for each.

    With S the most stages that any of them has: blocks ``1`` per stage, blocks ``2`` per stage, blocks per stage, the
    border behind each stage (all blocks up to its end), rows beside each stage; and the binary logarithms of
    parameters, multiply-adds and activation bytes. Stages that a code lacks count as empty. Lengths and borders are
    sums of the first columns: they add no information, but let a penalised fit prefer what blocks have in common.

    Args:
        architectures: n of them.
        image_size: (width, height) in pixels at which costs are counted.

    Returns:
        float64[n, 5 S + 3].
    """
    most = max(architecture.stage_count for architecture in architectures)
    return np.array([_features(architecture, most, image_size) for architecture in architectures], np.float64)


def _features(architecture: Architecture, most: int, image_size: tuple[int, int]) -> list[float]:
    stages = (*architecture.stages, *[""] * (most - architecture.stage_count))
    lengths = [len(stage) for stage in stages]
    beside = (*architecture.rows, *[0] * (most - len(architecture.rows)))
    cost = backbone_cost(architecture, *image_size)
    counted = (cost.parameters, cost.multiply_adds, cost.activation_bytes)
    return [
        *(stage.count("1") for stage in stages),
        *(stage.count("2") for stage in stages),
        *lengths,
        *accumulate(lengths),
        *beside,
        *np.log2(counted),
    ]
