"""What a preset sets of a training of its own."""

from typing import Any

from spnas_core.configuration import validate
from spnas_core.errors import ConfigError, suggestion
from spnas_core.presets import Preset
from spnas_detect.jobs.settings import TrainSettings
from spnas_detect.settings import DetectionSettings

OWN = frozenset(TrainSettings.model_fields) - frozenset(DetectionSettings.model_fields)
"""Keys of the table ``[train]``; all others stand in ``[task]``."""

ANY_CODE = "b@8_1"
"""Stands in where a preset names no architecture."""


def training_values(preset: Preset) -> dict[str, Any]:
    """Return what a preset sets of a training, as plain values of ``TrainSettings``.

    Raises:
        ConfigError: it is of another task, or a key or a value is wrong; preset, file and key are named.
        PluginError: it extends a preset that nobody registers.
    """
    task, train = preset.table("task"), preset.table("train")
    with preset.explained():
        name = task.pop("name", "detection")
        if name != "detection":
            raise ConfigError(f"it is for the task {name!r}: only detectors can be trained here")
        for key in train:
            if key not in OWN:
                where = "it stands in [task]" if key in DetectionSettings.model_fields else "there is none"
                raise ConfigError(f"[train] has a key {key!r}: {where}{suggestion(key, OWN)}")
        values = {**task, **train}
        validate(TrainSettings, {"architecture": ANY_CODE, **values})
    return values
