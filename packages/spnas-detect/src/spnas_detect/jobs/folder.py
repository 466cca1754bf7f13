"""The folder of a training.

``train.toml`` the resolved settings · ``checkpoint/`` to go on from · ``scalars.jsonl`` (and ``tensorboard/``) the
training as it went · ``weights.safetensors`` what came out · ``best.safetensors`` what scored best on the way ·
``scores.json`` how good it is · ``cache/`` the images.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from spnas_core.commands.json_text import to_json
from spnas_core.commands.wording import counted
from spnas_core.configuration import read_toml, validate, write_toml
from spnas_core.durable import write_durably
from spnas_core.errors import MALFORMED, ConfigError
from spnas_core.occupied import TRAINING, check_not_taken
from spnas_detect.jobs.settings import MAY_CHANGE, TrainSettings
from spnas_detect.training.checkpoint import FILE as CHECKPOINT
from spnas_detect.training.norms import sees_batches

_T = TypeVar("_T")


@dataclass(frozen=True)
class TrainFolder:
    """Names and files of a training's folder.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "train.toml"

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint."""
        return self.path / "checkpoint"

    @property
    def weights(self) -> Path:
        """The trained weights."""
        return self.path / "weights.safetensors"

    @property
    def best(self) -> Path:
        """The weights that scored best on validation images, where there were such scores."""
        return self.path / "best.safetensors"

    @property
    def scores(self) -> Path:
        """The scores."""
        return self.path / "scores.json"

    @property
    def cache(self) -> Path:
        """Folder of decoded images."""
        return self.path / "cache"

    @property
    def has_begun(self) -> bool:
        """Whether the folder holds a training."""
        return self.config.exists()

    @property
    def left_without_settings(self) -> list[Path]:
        """What a training has made whose settings are gone."""
        made = (self.checkpoint / CHECKPOINT, self.weights, self.best, self.scores)
        return [] if self.has_begun else [file for file in made if file.exists()]

    def check_new(self) -> None:
        """Refuse a folder that holds a training, what is left of one, or something else that has a folder of its own.

        Raises:
            ConfigError: what it holds.
        """
        if self.has_begun:
            raise ConfigError(f"{self.path} holds a training already: go on with --resume, or choose another --out")
        if self.left_without_settings:
            raise ConfigError(
                f"{self.path} holds {self.left_without_settings[0].relative_to(self.path)} of a training whose "
                f"{self.config.name} is gone: put that back and go on with --resume, or choose another --out"
            )
        check_not_taken(self.path, {TRAINING})

    def read_settings(self) -> TrainSettings:
        """Read the settings of the training in the folder.

        Raises:
            ConfigError: there is none, or its settings were made unreadable.
        """
        if not self.has_begun:
            raise ConfigError(f"{self.path} holds no training: there is no {self.config.name} in it")
        return validate(TrainSettings, read_toml(self.config))

    def check_resumable(self, settings: TrainSettings) -> None:
        """Refuse to go on with other settings.

        Raises:
            ConfigError: the first key that differs, with both values.
        """
        before, now = flattened(self.read_settings().as_dict()), flattened(settings.as_dict())
        for key in sorted(before.keys() | now.keys()):
            same = before.get(key) == now.get(key)
            if not same and key not in MAY_CHANGE:
                raise ConfigError(
                    f"the training in {self.path} has {key} = {before.get(key)!r}, not {now.get(key)!r}: leave it out "
                    "to go on with that training, or choose another --out"
                )

    def write_settings(self, settings: TrainSettings) -> None:
        """Write the settings; from now on the folder holds a training."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_toml(settings.as_dict(), self.config)

    def keep_changes(self, settings: TrainSettings) -> None:
        """Store what a training that goes on does otherwise: where its data lies, how often it is scored and saved."""
        before = self.read_settings()
        now = before.model_copy(update={key: getattr(settings, key) for key in MAY_CHANGE})
        if before != now:
            self.write_settings(now)

    def write_scores(self, scores: Mapping[str, float], *, split: str, seconds: float) -> None:
        """Write what the trained detector has scored; undefined scores become null."""
        content = {"split": split, "scores": scores, "seconds": round(seconds, 3)}
        write_durably(self.scores, to_json(content, indent=2) + "\n")


def lasting_settings(settings: TrainSettings) -> str:
    """Return the settings that a training keeps from its beginning to its end, in JSON."""
    flat = flattened(settings.as_dict())
    return to_json({key: value for key, value in flat.items() if key not in MAY_CHANGE})


def check_same_settings(config: Path, then: str, settings: TrainSettings) -> None:
    """Refuse to go on with other settings than a training was made with so far.

    Args:
        config: the file that they were read from.
        then: ``lasting_settings`` of the training; empty where it is older than these.
        settings: that it would go on with.

    Raises:
        ConfigError: the first key that differs, with both values.
    """
    now = flattened(settings.as_dict())
    for key, before in sorted(json.loads(then or "{}").items()):
        if json.loads(to_json(now.get(key))) != before:
            raise ConfigError(
                f"{config} has {key} = {now.get(key)!r}, and the training was made with {before!r}: put that back"
            )


def check_same_devices(folder: Path, then: int, now: int, detector: nn.Module) -> None:
    """Refuse to go on with more or fewer devices where norms see the images of each alone.

    Args:
        folder: of the training.
        then: processes that it was made by so far.
        now: that it would go on with.
        detector: that is trained, its norms converted.

    Raises:
        ConfigError: a norm does.
    """
    if then != now and sees_batches(detector):
        raise ConfigError(
            f"the training in {folder} was made on {counted(then, 'device')}, and its batch norms see the images of "
            f"each alone: on {now} they would be others; go on with --devices {then}, or choose another --out"
        )


def check_same_data(folder: Path, then: str, now: str, place: str) -> None:
    """Refuse to go on with other data than a training, or a comparison, began with.

    Args:
        folder: of the training.
        then: digest of that data's content; empty where the training is older than such digests.
        now: digest of the content of the data that there is.
        place: where that lies, such as ``voc:data/bccd``.

    Raises:
        ConfigError: they differ.
    """
    if then not in {"", now}:
        raise ConfigError(
            f"the data of {folder} has changed: {place} does not hold what was learnt from so far; restore it, say "
            "where that data lies with --data, or choose another --out"
        )


def read_scores(path: Path) -> dict[str, float]:
    """Return the scores of a training's folder by name, NaN where undefined.

    Raises:
        ConfigError: there are none.
    """
    return _stored(
        path,
        "scores",
        lambda found: {name: math.nan if value is None else float(value) for name, value in found.items()},
    )


def scored_split(path: Path) -> str:
    """Return what the images are called that the scores of a training's folder are of.

    Raises:
        ConfigError: there are none.
    """
    return _stored(path, "split", str)


def _stored(path: Path, key: str, read: Callable[[Any], _T]) -> _T:
    try:
        return read(json.loads(TrainFolder(path).scores.read_text(encoding="utf-8"))[key])
    except (OSError, *MALFORMED) as error:
        file = TrainFolder(path).scores
        what = f"remove {file}, and go on" if file.exists() else "go on with --resume"
        raise ConfigError(f"{path} holds no scores of a finished training ({error}): {what}") from None


def flattened(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return nested settings by dotted key."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "data_options":
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
