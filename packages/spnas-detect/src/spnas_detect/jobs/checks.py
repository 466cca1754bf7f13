"""What is wrong with the settings of a training, found before any image is read."""

import torch

from spnas_core.backbones import read_network
from spnas_core.errors import ConfigError
from spnas_detect.detectors import build_detector, detector_factory
from spnas_detect.detectors.levels import check_levels
from spnas_detect.devices import choose_device
from spnas_detect.jobs.inheriting import inherited
from spnas_detect.jobs.settings import TrainSettings
from spnas_detect.metrics import metric_factory
from spnas_detect.necks import neck_of
from spnas_detect.training import check_drops, check_freeze_at, part_size


def check_settings(settings: TrainSettings) -> None:
    """Refuse at once what would otherwise be refused after reading the data, or in every process.

    Raises:
        SpnasError: the first mistake.
    """
    architecture = read_network(settings.architecture)
    check_levels(settings.detector, architecture)
    check_freeze_at(settings.training.freeze_at, architecture, inherits=settings.init is not None)
    check_drops(settings.training.schedule, settings.training.drops, settings.epochs)
    detector_factory(settings.detector.detector)
    neck_of(architecture, settings.detector.neck)
    for name in settings.metrics:
        metric_factory(name)
    if settings.patience is not None and not settings.score_every:
        raise ConfigError(
            f"patience is {settings.patience} and there are no scores to wait for: set score_every, such as 1"
        )
    device = choose_device(settings.device)
    part_size(settings.training, settings.devices)
    if device.type == "cuda" and settings.devices > max(torch.cuda.device_count(), 1):
        raise ConfigError(
            f"devices is {settings.devices}, and this machine has {torch.cuda.device_count()} GPUs: lower it, or "
            "compute on the CPU with --set device=cpu"
        )


def check_buildable(settings: TrainSettings) -> None:
    """Build the detector once from what it starts from, before any image is read: weights and architecture must fit.

    Raises:
        SpnasError: what does not fit, or cannot be read.
    """
    architecture = read_network(settings.architecture)
    found = inherited(settings, architecture)
    build_detector(
        found.rewrite,
        1,
        settings.detector,
        found.tensors,
        generator=torch.Generator().manual_seed(0),
        parent_stages=found.origin.stages,
    )
