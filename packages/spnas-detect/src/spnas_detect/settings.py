"""Settings of the detection task: the ``[task]`` table of a run's configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from spnas_core.configuration import Count, Extent, Seed, Table, absolute_path
from spnas_core.tasks import Fidelity
from spnas_detect.data.cache.modes import LIMIT
from spnas_detect.data.canvases import Orientation
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.training.settings import PretrainingSettings, TrainingSettings


def absolute_source(text: str) -> str:
    """Make the path of ``KIND:PATH`` absolute, where it exists."""
    kind, colon, path = text.partition(":")
    return f"{kind}:{absolute_path(path)}" if colon else text


LEAST_SIDE = 32
"""Pixels of a canvas, which the coarsest of four stages brings to one."""
Side = Annotated[Extent, Field(ge=LEAST_SIDE)]


class DetectionSettings(Table):
    """What is detected, with what, and how it is trained.

    Attributes:
        name: the task's name; says that this table belongs to it.
        data: data set as ``KIND`` or ``KIND:PATH``: ``shapes``, ``voc:PATH``, ``coco:PATH``, ``ecp:PATH``,
            ``yolo:PATH``, or ``folder:PATH`` for any of them. A path that exists becomes absolute, so that settings
            mean the same in every folder.
        data_seed: of generated data and of carved splits.
        data_options: options of the kind of data.
        image_size: (width, height) in pixels of the canvas that images are scaled to.
        orientation: ``fixed``: every image is fitted into that canvas; ``either``: one that stands where the canvas
            lies, or lies where it stands, is fitted into the transposed one, and batches are of one canvas.
        reduced_decoding: whether JPEGs that are twice as large as their canvas needs, or more, are decoded at a half, a
            quarter or an eighth of their size: quicker, and of slightly other pixels.
        cache: how images are kept on the disk, which changes no number: ``images``, decoded and resized, the quickest;
            ``encoded``, as their files are, all of a split in one; ``none``, read from the data set each time; ``auto``
            takes the first of these that fits ``cache_limit`` and the free space.
        cache_limit: GiB that images take there at most where ``cache`` is ``auto``.
        detector: neck and heads.
        training: optimiser and schedule.
        pretraining: what a backbone is reignited on, where the strategy asks for it.
        device: ``auto`` is CUDA where there is one.
        deterministic: whether the same seed must give the same weights.
        calibrate: whether the norms of new pass-through projections are set from training images, so that they pass
            their input through in training mode too.
        metrics: names of registered metrics.
        recalibration_batches: training batches over which the norms of a part, which inherits weights that are trained
            for all parts of the start alike, gather their statistics anew.
        score_after: epochs of an evaluation after which it is scored in between, as it then is (averaged weights only
            count at the end); the scores stand in its receipt, and are reported.
    """

    name: Literal["detection"] = "detection"
    data: Annotated[str, AfterValidator(absolute_source)] = "shapes"
    data_seed: Seed = 0
    data_options: dict[str, Any] = Field(default_factory=dict)
    image_size: tuple[Side, Side] = (128, 128)
    orientation: Orientation = "fixed"
    reduced_decoding: bool = False
    cache: Literal["auto", "images", "encoded", "none"] = "auto"
    cache_limit: float = Field(LIMIT, ge=0)
    detector: DetectorSettings = DetectorSettings()
    training: TrainingSettings = TrainingSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    device: str = "auto"
    deterministic: bool = True
    calibrate: bool = True
    metrics: tuple[str, ...] = Field(("coco",), min_length=1)
    recalibration_batches: Count = Field(50, ge=1)
    score_after: tuple[Annotated[Count, Field(ge=1)], ...] = ()

    def at(self, fidelity: Fidelity) -> Self:
        """Return the settings of an evaluation that spends less: a smaller canvas, and a share of the images.

        Sizes that a training draws keep their ratio to the canvas, as far as a canvas may be small.
        """
        training, (width, height) = self.training, fidelity.image_size or self.image_size
        sizes = training.image_sizes
        if sizes is not None:
            sizes = tuple(
                (_scaled(one, width, self.image_size[0]), _scaled(other, height, self.image_size[1]))
                for one, other in sizes
            )
        training = training.model_copy(update={"share": training.share * fidelity.share, "image_sizes": sizes})
        return self.model_copy(update={"training": training, "image_size": (width, height)})


def _scaled(side: int, now: int, whole: int) -> int:
    return side if now == whole else max(LEAST_SIDE, round(side * now / whole))
