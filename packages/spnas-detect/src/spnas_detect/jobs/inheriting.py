"""What a training of its own starts from."""

from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.interchange.initial_weights import read_initial_weights
from spnas_core.morphisms import Rewrite, identity
from spnas_detect.jobs.settings import TrainSettings


def inherited(settings: TrainSettings, architecture: Architecture) -> tuple[Rewrite, dict[str, Tensor]]:
    """Return how a detector inherits the weights that the settings name, and these; nothing where they name none.

    Raises:
        WeightsError: they cannot be read, or are of another block type or stem.
    """
    if settings.init is None:
        return identity(architecture), {}
    found = read_initial_weights(settings.init, architecture)
    return found.rewrite(architecture), found.tensors
