"""Settings of training."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from spnas_core.configuration import Count, Extent, Few, Large, Table
from spnas_detect.training.norms import NormKind


def _ascending(drops: tuple[float, ...]) -> tuple[float, ...]:
    are_shares, are_epochs = all(0 < drop < 1 for drop in drops), all(drop < 0 for drop in drops)
    if list(drops) != sorted(set(drops)) or not (are_shares or are_epochs):
        raise ValueError(
            "must ascend, and be shares of the training between 0 and 1, such as [0.67, 0.89], or epochs before its "
            "end, such as [-8, -2]"
        )
    return drops


Side = Annotated[Extent, Field(ge=32)]
Drops = Annotated[tuple[float, ...], Field(min_length=1), AfterValidator(_ascending)]


class TrainingSettings(Table):
    """How a detector is trained.

    Attributes:
        batch_size: images per step, of all devices together.
        accumulate: parts that a step's images are computed in, one after the other, to save memory. Losses are
            normalised within each part and then averaged, so the result is close to that of the whole batch and not
            equal to it; batch norm sees the parts.
        optimizer: ``sgd`` with momentum, or ``adamw``.
        nesterov: whether SGD's momentum is Nesterov's; None and true are, false is plain, as published detectors are
            trained.
        learning_rate: at its peak, from fresh weights.
        finetune_learning_rate: at its peak, from inherited weights.
        base_batch_size: the batch size that both learning rates are meant for: they are multiplied by batch_size /
            base_batch_size; None takes them as they are.
        momentum: of SGD; the first beta of AdamW.
        weight_decay: of convolution and linear weights; norms and biases have none.
        schedule: of the learning rate after the warm-up: ``cosine`` falls to zero, ``step`` divides by ten after two
            thirds and after eight ninths of the steps behind it.
        drops: of the schedule ``step``: shares of all steps after which it divides by ten, or, negative, epochs before
            the end, which stay as long in a longer training; ascending. None for those, which an evaluation of a
            search also has where it is not longer than the first such phase.
        warmup_steps: over which the learning rate rises linearly; at most a fifth of the training. After a short one
            some trainings tell classes apart late, with more of the box head's units silent (docs/benchmarks.md).
        clip_norm: largest norm of the gradient; 0 does not clip.
        ema_decay: share that the moving average of the weights keeps in each step; 0 has no average. Where there is
            one, it is what is scored and saved.
        norm: ``batch``; ``sync``, with the statistics of all devices; ``group``, with none; ``frozen``, not trained
            where statistics were inherited, and ``batch`` elsewhere.
        freeze_at: how much of the backbone is not trained, norms included, as far as it was inherited: 1 the stem, 2
            the first stage too, and so on; None and 0 nothing. As Detectron2's ``FREEZE_AT``.
        precision: ``auto`` is bfloat16 autocast on CUDA and float32 on CPU.
        channels_last: ``auto`` follows what pays on the device.
        flip: probability of a horizontal flip.
        photometric: whether brightness, contrast, saturation, hue and channel order are distorted, on the device.
        scale_range: least and greatest factor of random scaling before a random crop; None leaves the scale.
        scale_onto: what that crop fills: the ``image``'s own part of its canvas, on black (None and ``image``), or the
            whole ``canvas``, on grey, as large-scale jitter does with ``scale_range = [0.1, 2.0]`` (Ghiasi et al.,
            "Simple Copy-Paste").
        min_visible: share of an object's area that a crop must leave; a smaller rest becomes an ignored region, which
            is neither learnt nor background. None for a quarter.
        mosaic: probability that four images share a canvas (Bochkovskiy et al., "YOLOv4"); None for 0.
        mosaic_off_epochs: last epochs without mosaics, so that what is learnt last are whole images (Ge et al.,
            "YOLOX"); None for 0.
        image_sizes: (width, height) of canvases in pixels, of which each step draws one; None always takes the
            detector's. Images are resized from its canvas, so make that the largest of them.
        share: of the training images that is used.
        empty: whether training images without a box that counts are kept (None and ``keep``) or left out (``drop``), as
            published detectors are trained.
        sampling: ``uniform`` shows each image once per epoch (None, too); ``class-balanced`` shows images of rare
            classes more often and the others less, by the repeat factors of Gupta et al., "LVIS". Epochs stay as long.
        balance_threshold: share of the images below which a class is rare; None for LVIS's 0.001.
        prefetch: batches that are prepared ahead, each by a thread of its own; ``auto`` takes as many as there are
            cores, up to eight, where there is a GPU, and none where the step needs the processor itself. The batches
            are the same.
    """

    batch_size: Count = Field(8, ge=1)
    accumulate: Count = Field(1, ge=1)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    nesterov: bool | None = None
    learning_rate: float = Field(0.003, gt=0)
    finetune_learning_rate: float = Field(0.003, gt=0)
    base_batch_size: Count | None = Field(None, ge=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.02, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    drops: Drops | None = None
    warmup_steps: Large = Field(250, ge=0)
    clip_norm: float = Field(5.0, ge=0)
    ema_decay: float = Field(0.0, ge=0, lt=1)
    norm: NormKind = "batch"
    freeze_at: Few | None = Field(None, ge=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Literal["auto"] | bool = "auto"
    flip: float = Field(0.5, ge=0, le=1)
    photometric: bool = False
    scale_range: tuple[float, float] | None = None
    scale_onto: Literal["image", "canvas"] | None = None
    min_visible: float | None = Field(None, ge=0, le=1)
    mosaic: float | None = Field(None, ge=0, le=1)
    mosaic_off_epochs: Count | None = Field(None, ge=0)
    image_sizes: tuple[tuple[Side, Side], ...] | None = Field(None, min_length=1)
    share: float = Field(1.0, gt=0, le=1)
    empty: Literal["keep", "drop"] | None = None
    sampling: Literal["uniform", "class-balanced"] | None = None
    balance_threshold: float | None = Field(None, gt=0, le=1)
    prefetch: Literal["auto"] | Annotated[Few, Field(ge=0)] = "auto"

    @field_validator("scale_onto")
    @classmethod
    def _has_a_scale(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "canvas" and info.data.get("scale_range") is None:
            raise ValueError("needs a scale_range, such as [0.1, 2.0]")
        return value

    def peak_learning_rate(self, *, inherits: bool) -> float:
        """Return the learning rate at its peak, scaled linearly with the batch.

        Goyal et al., "Accurate, Large Minibatch SGD".
        """
        rate = self.finetune_learning_rate if inherits else self.learning_rate
        return rate if self.base_batch_size is None else rate * self.batch_size / self.base_batch_size


class PretrainingSettings(Table):
    """What a backbone is reignited on: classification, in a search whose strategy asks for it.

    Attributes:
        data: folder of images by class, as ``open_image_folder`` reads it; None takes crops of the objects, and of
            places without one, out of the training images.
        image_side: of the images that are classified, in pixels.
        batch_size: images per step.
        learning_rate: at its peak; optimiser, warm-up and weight decay are those of detection.
        context: width of a crop as a multiple of its object's longer side.
        min_side: objects whose longer side is shorter, in pixels, give no crop.
        background: background crops, as a multiple of the mean number of crops per class.
    """

    data: str | None = None
    image_side: Extent = Field(64, ge=32)
    batch_size: Count = Field(32, ge=2)
    learning_rate: float = Field(0.003, gt=0)
    context: float = Field(1.25, ge=1, le=4)
    min_side: Extent = Field(8, ge=1)
    background: float = Field(1.0, ge=0)
