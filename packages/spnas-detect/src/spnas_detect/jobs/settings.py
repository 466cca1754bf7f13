"""Settings of a whole training: ``train.toml``."""

from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field

from spnas_core.configuration import Count, Few, Large, Seed, absolute_path, without_none
from spnas_core.paths import is_there
from spnas_detect.settings import DetectionSettings, absolute_source


def _absolute_weights(text: str) -> str:
    kind, colon, _ = text.partition(":")
    names_source = bool(colon) and kind.replace("-", "").isalnum() and not is_there(text)
    return absolute_source(text) if names_source else absolute_path(text)


class TrainSettings(DetectionSettings):
    """What is trained, on what, and how: everything that a task has, and what only a training of its own needs.

    Attributes:
        architecture: code of the backbone, or another network, such as ``timm:hrnet_w18``.
        init: weights to start from: ``torchvision:FILE`` (a ResNet's, or a detector's with FPN on one),
            ``torchvision-backbone:FILE`` (of the detector the backbone alone) or ``FILE.safetensors``; for a network by
            name ``timm:FILE`` or ``torchvision:FILE`` (the whole network's, as its library saves it); None for fresh
            ones. A file that exists gets its absolute path.
        epochs: to train.
        seed: of everything random.
        devices: processes that train together, one per GPU where there are GPUs; ``training.batch_size`` is shared
            out among them.
        checkpoint_steps: steps between two checkpoints.
        checkpoints_kept: how many of them stay, the last ones; None for one.
        log_steps: steps between two lines of ``scalars.jsonl``.
        score_every: epochs between two scores on validation images; 0 has none.
        patience: scores, of those that ``score_every`` asks for, after which the training ends where none of them has
            improved; None never ends it early.
        min_delta: by how much more than this the first metric's main number must improve; None for 0.
        score_split: images that the trained detector is scored on.
    """

    architecture: str
    init: Annotated[str, AfterValidator(_absolute_weights)] | None = None
    epochs: Count = Field(12, ge=1)
    seed: Seed = 0
    devices: Few = Field(1, ge=1)
    checkpoint_steps: Large = Field(500, ge=1)
    checkpoints_kept: Large | None = Field(None, ge=1)
    log_steps: Large = Field(10, ge=1)
    score_every: Large = Field(0, ge=0)
    patience: Large | None = Field(None, ge=1)
    min_delta: float | None = Field(None, ge=0)
    score_split: Literal["validation", "test"] = "test"

    def as_dict(self) -> dict[str, Any]:
        """Return everything, defaults included, as plain values without None."""
        values = self.model_dump(mode="json", exclude={"name"})
        # Tables last, as TOML wants them.
        ordered = dict(sorted(values.items(), key=lambda item: isinstance(item[1], dict)))
        return cast("dict[str, Any]", without_none(ordered))


MAY_CHANGE = frozenset(
    {
        *("data", "cache", "cache_limit", "device", "devices", "checkpoint_steps", "checkpoints_kept", "log_steps"),
        *("score_every", "score_split", "patience", "min_delta"),
    }
)
"""What may differ when a training is resumed: nothing of it decides what the steps compute but for roundings. The data
may lie elsewhere, and be kept in another way, as long as it is the same; of ``devices`` there may be more or fewer as
long as no norm sees the images of each alone, which the detector tells (``check_same_devices``)."""
