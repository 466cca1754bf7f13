"""Classification training of a backbone: what reignites a detector whose search is stuck."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas_core.errors import EvaluationError
from spnas_core.networks import Backbone
from spnas_detect.data.finishing import finish
from spnas_detect.data.thumbnails import BORDER, ThumbnailData, Thumbnails
from spnas_detect.memory import explained_allocation
from spnas_detect.training.memory import OutOfMemoryError
from spnas_detect.training.optimizer import make_optimizer
from spnas_detect.training.precision import uses_bfloat16
from spnas_detect.training.schedule import learning_rate_factor
from spnas_detect.training.settings import PretrainingSettings, TrainingSettings

FLIP = 0.5
HEAD_STD = 0.01


@dataclass(frozen=True)
class PretrainingResult:
    """What came of it.

    Attributes:
        epochs: of classification.
        images: that it was trained on.
        classes: how many.
        accuracy: share of the validation images whose class was right, in [0, 1].
    """

    epochs: int
    images: int
    classes: int
    accuracy: float

    def as_dict(self) -> dict[str, float]:
        """Return plain values, for a receipt."""
        return asdict(self)


class Classifier(nn.Module):
    """Global average of the last stage, and one linear layer.

    Args:
        backbone: on its device.
        classes: how many.
        generator: of the first weights of the linear layer.
    """

    def __init__(self, backbone: Backbone, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone = backbone
        device = next(backbone.parameters()).device
        self.head = nn.Linear(backbone.feature_info.channels()[-1], classes)
        with torch.no_grad():
            self.head.weight.normal_(0, HEAD_STD, generator=generator)
            self.head.bias.zero_()
        self.head.to(device)

    def forward(self, images: Tensor) -> Tensor:
        """Map Tensor[N, 3, S, S] to logits, Tensor[N, classes]."""
        last = list(self.backbone(images).values())[-1]
        logits: Tensor = self.head(last.mean((2, 3)))
        return logits


def pretrain(
    backbone: Backbone,
    data: ThumbnailData,
    settings: PretrainingSettings,
    training: TrainingSettings,
    epochs: int,
    *,
    seed: int,
    report: Callable[[int, int, str], None],
) -> PretrainingResult:
    """Train a backbone on classification, in place; the linear layer is thrown away.

    Args:
        backbone: with its weights, on its device.
        data: images of the classes.
        settings: batch, learning rate, size of the images.
        training: optimiser, warm-up, gradient clipping, precision, as in detection.
        epochs: 1 or more.
        seed: of everything random.
        report: called with (steps done, steps, what happens).

    Raises:
        EvaluationError: the loss is not finite any more.
        OutOfMemoryError: a batch does not fit.
    """
    device = next(backbone.parameters()).device
    what = f"{settings.batch_size} images of {settings.image_side}x{settings.image_side} to classify at a time"
    with explained_allocation(device, OutOfMemoryError, lambda: (what, "lower task.pretraining.batch_size")):
        generator = torch.Generator().manual_seed(seed)
        classifier = Classifier(backbone, len(data.classes), generator).train()
        train = data.splits["train"]
        batch_size = min(settings.batch_size, len(train))
        steps = epochs * (len(train) // batch_size)
        optimizer = make_optimizer(classifier, training, settings.learning_rate)
        done = 0
        for _ in range(epochs):
            order = torch.randperm(len(train), generator=generator)
            for indices in torch.split(order, batch_size):
                if len(indices) < batch_size:
                    continue  # batch norm would see another statistic
                rate = learning_rate_factor(done, steps, training.warmup_steps, "cosine") * settings.learning_rate
                for group in optimizer.param_groups:
                    group["lr"] = rate
                images = finish(_window(train.batch(indices), settings.image_side, generator), channels_last=True)
                with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(training.precision, device)):
                    logits = classifier(images.to(device))
                loss = functional.cross_entropy(logits.float(), train.labels[indices].to(device))
                value = float(loss.detach())
                if not math.isfinite(value):
                    raise EvaluationError(f"the loss of classification is {value} in step {done + 1} of {steps}")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                if training.clip_norm:
                    nn.utils.clip_grad_norm_(classifier.parameters(), training.clip_norm)
                optimizer.step()
                done += 1
                report(done, steps, f"classification, loss {value:.3f}")
        accuracy = _accuracy(classifier.eval(), data.splits["validation"], settings, batch_size)
        return PretrainingResult(epochs, len(train), len(data.classes), accuracy)


@torch.no_grad()
def _accuracy(classifier: Classifier, split: Thumbnails, settings: PretrainingSettings, batch_size: int) -> float:
    device = classifier.head.weight.device
    right = 0
    for indices in torch.split(torch.arange(len(split)), batch_size):
        images = finish(_window(split.batch(indices), settings.image_side, None), channels_last=True)
        right += int((classifier(images.to(device)).argmax(1).cpu() == split.labels[indices]).sum())
    return right / max(len(split), 1)


def _window(images: Tensor, side: int, generator: torch.Generator | None) -> Tensor:
    """Cut windows out of uint8[N, 3, S, S]: at random and perhaps flipped, or, without a generator, the middle."""
    slack = side // BORDER
    if generator is None:
        at = slack // 2
        return images[:, :, at : at + side, at : at + side]
    corners = torch.randint(slack + 1, (len(images), 2), generator=generator)
    flips = torch.rand(len(images), generator=generator) < FLIP
    windows = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(images, corners.tolist(), strict=True)]
    stacked = torch.stack(windows)
    stacked[flips] = stacked[flips].flip(-1)
    return stacked
