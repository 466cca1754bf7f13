"""A detector of three layers that samples and normalises as the heads do, and trainings of seconds: for tests."""

import torch
from torch import nn

from spnas_detect.data import Loader, train_augmentation
from spnas_detect.heads.normalisation import global_draw, normaliser
from spnas_detect.jobs import TrainSettings
from spnas_detect.processes import ALONE
from spnas_detect.training import Trainer, TrainingSettings, convert_norms


class TinyDetector(nn.Module):
    """Learns how many boxes an image has, at sampled places; images with more boxes have more places."""

    def __init__(self, *, draws_globally: bool = False) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Conv2d(4, 1, 3, stride=2)
        self.draws_globally = draws_globally

    def losses(self, images, targets, *, generator=None):
        found = self.head(self.backbone(images)).flatten(1)
        boxes = (targets.labels > 0).sum(1, keepdim=True)
        noise = global_draw((len(images), found.shape[1]), generator, images.device)
        is_sampled = noise < 0.1 * (1 + boxes)
        errors = torch.where(is_sampled, (found - boxes).square(), 0.0)
        if self.draws_globally:
            found = found + torch.randn(found.shape)
        return {"loss_count": errors.sum() / normaliser(is_sampled.sum()), "loss_size": 0.01 * found.square().mean()}


def make_trainer(
    split, *, detector=None, epochs=3, processes=ALONE, seed=0, draws_globally=False, device="cpu", **settings
):
    """A trainer of a tiny detector, or of the given one."""
    values = {"batch_size": 4, "learning_rate": 0.02, "warmup_steps": 2, **settings}
    training = TrainingSettings.model_validate(values)
    torch.manual_seed(seed)
    if detector is None:
        detector = TinyDetector(draws_globally=draws_globally)
        with torch.no_grad():  # statistics and factors that frozen norms would notice
            detector.backbone[1].running_mean.normal_()
            detector.backbone[1].weight.uniform_(0.5, 1.5)
    convert_norms(detector, training.norm).to(device)
    loader = Loader(
        split,
        batch_size=training.batch_size // training.accumulate,
        augmentation=train_augmentation(),
        shuffle=True,
        seed=seed,
        drop_last=True,
        rank=processes.rank,
        world_size=processes.count,
    )
    return Trainer(
        detector, loader, training, training.learning_rate, epochs, seed=seed, processes=processes,
        image_names=split.names,
    )  # fmt: skip


def losses_of(trainer):
    """Train to the end; the losses of each step."""
    seen = []
    trainer.run(lambda record: seen.append(dict(record.losses)))
    return seen


SHAPES = {"image_size": 64, "train": 26, "validation": 4, "test": 4, "max_size": 32, "min_size": 12}


def tiny_settings(**changes):
    """Settings of a real detector's training of a few seconds: 18 steps."""
    values = {
        "architecture": "b@8_1-2",
        "image_size": (64, 64),
        "data_options": SHAPES,
        "epochs": 3,
        "checkpoint_steps": 3,
        "log_steps": 1,
        "training": {"batch_size": 4, "ema_decay": 0.9},
        **changes,
    }
    return TrainSettings.model_validate(values)
