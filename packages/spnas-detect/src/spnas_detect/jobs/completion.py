"""Settings of a new training, with what they leave open chosen to suit data and architecture."""

from collections.abc import Mapping
from typing import Any

from spnas_core.backbones import read_network
from spnas_core.configuration import validate
from spnas_detect.jobs.checks import check_settings
from spnas_detect.jobs.settings import TrainSettings
from spnas_detect.settings import DetectionSettings
from spnas_detect.suiting import suited


def suited_settings(values: Mapping[str, Any]) -> tuple[TrainSettings, tuple[str, ...]]:
    """Choose canvas, anchors and heads where a training's settings do not have them; see ``suiting.suited``.

    Args:
        values: of ``TrainSettings``, plain; whatever they have stays.

    Returns:
        The settings, and what was chosen and why, one line each.

    Raises:
        SpnasError: the settings are wrong, or the data cannot be read.
    """
    settings = validate(TrainSettings, values)
    check_settings(settings)
    table = {name: value for name, value in values.items() if name in DetectionSettings.model_fields}
    found = suited(table, read_network(settings.architecture), settings.init)
    return validate(TrainSettings, {**values, **found.values}), found.remarks
