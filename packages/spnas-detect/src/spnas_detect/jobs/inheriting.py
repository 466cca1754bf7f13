"""What a training of its own starts from."""

from dataclasses import dataclass

from torch import Tensor

from spnas_core.backbones import AnyNetwork, Unchanged, unchanged
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.morphisms import Rewrite
from spnas_detect.detectors.origin import Origin, origin_of
from spnas_detect.jobs.settings import TrainSettings


@dataclass(frozen=True)
class Inherited:
    """What a training starts from.

    Attributes:
        rewrite: how the architecture inherits.
        tensors: by name; empty for fresh weights.
        origin: what else is known of them.
    """

    rewrite: Rewrite | Unchanged
    tensors: dict[str, Tensor]
    origin: Origin


def inherited(settings: TrainSettings, architecture: AnyNetwork) -> Inherited:
    """Read the weights that the settings name; nothing where they name none.

    Raises:
        WeightsError: they cannot be read, are of another block type or stem, or of a detector of other sizes.
    """
    if settings.init is None:
        return Inherited(unchanged(architecture), {}, Origin())
    found = read_initial_weights(settings.init, architecture)
    origin = origin_of(found.said, found.architecture)
    origin.check(found.tensors, settings.detector)
    return Inherited(found.rewrite(architecture), found.tensors, origin)
