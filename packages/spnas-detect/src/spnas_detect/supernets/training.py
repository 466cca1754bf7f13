"""What is chosen before each step of a training whose parts share weights."""

from dataclasses import dataclass
from typing import Any, Protocol

from spnas_core.supernets import Parts
from spnas_core.tasks import SharedTraining
from spnas_detect.data import Loader
from spnas_detect.settings import DetectionSettings
from spnas_detect.supernets.paths import Paths
from spnas_detect.supernets.relaxed import RelaxedWeights
from spnas_detect.training.trainer import Trainer


class SharedWeights(Protocol):
    """Goes along with a training; made before what trains it has chosen anything."""

    def before_step(self, step: int) -> None:
        """Choose what computes in a step, counted from 0."""

    def after_step(self) -> None:
        """Learn from the step."""

    def restore(self) -> None:
        """Compute the whole start again."""

    def receipt(self) -> dict[str, Any]:
        """Say what came of it, as plain values."""


@dataclass(frozen=True)
class UniformPaths:
    """One part in each step, drawn uniformly: single path one-shot training.

    Attributes:
        paths: of the detector.
        parts: that are drawn from.
        seed: of the draws.
    """

    paths: Paths
    parts: Parts
    seed: int

    def before_step(self, step: int) -> None:
        """Choose the part of a step, the same in every process."""
        self.paths.choose(self.parts.at_step(self.seed, step))

    def after_step(self) -> None:
        """Nothing is learnt but the weights."""

    def restore(self) -> None:
        """Compute the whole start again."""
        self.paths.restore()

    def receipt(self) -> dict[str, Any]:
        """How many different parts were trained."""
        return {"parts_trained": len(self.paths.chosen)}


def halves_images(sharing: SharedTraining | None) -> bool:
    """Whether the weights are trained on one half of the training images, and the choice of parts on the other."""
    return sharing is not None and sharing.relaxation is not None and sharing.relaxation.halves


def shared_weights(
    trainer: Trainer, settings: DetectionSettings, sharing: SharedTraining | None, others: Loader | None
) -> SharedWeights | None:
    """Make what goes along with the training of a start; None where it is trained alone.

    Args:
        trainer: of a detector whose backbone is a ``Supernet``.
        settings: of the task; cost is counted at its size of images.
        sharing: what is asked for.
        others: training images that the trainer does not see, where they are halved.
    """
    if sharing is None:
        return None
    paths = Paths(trainer.detector, settings.detector)
    if sharing.relaxation is None:
        return UniformPaths(paths, Parts(paths.whole.architecture, sharing.space), trainer.seed)
    return RelaxedWeights(trainer, paths, sharing.relaxation, others, settings.image_size)
