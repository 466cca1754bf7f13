"""Commands that repeat a training or a comparison, from the settings that it left."""

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from spnas_detect.jobs.folder import flattened
from spnas_detect.jobs.settings import TrainSettings

CHOSEN = ("image_size", "detector.")
"""Settings that would be chosen anew where they were left out."""

GIVEN = frozenset({"architecture", "init", "data", "data_options", "seed", "score_split"})
"""Settings that have an argument or option of their own, or none."""


def assignments(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield options that give settings as they are, where they are not the defaults.

    Args:
        values: of a training, by dotted key.
    """
    if "data" in values:
        yield f"--data {shlex.quote(str(values['data']))}"
    for key, value in (values.get("data_options") or {}).items():
        yield f"--data-option {shlex.quote(f'{key}={toml_of(value)}')}"
    if "seed" in values:
        yield f"--seed {values['seed']}"
    defaults = json.loads(json.dumps(flattened(TrainSettings(architecture="b_1").as_dict())))
    for key, value in values.items():
        if key not in GIVEN and (key.startswith(CHOSEN) or defaults.get(key) != value):
            yield f"--set {shlex.quote(f'{key}={toml_of(value)}')}"


def toml_of(value: object) -> str:
    """Write a value as ``--set`` reads it: TOML, whose texts, numbers, truths and arrays are JSON's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_of(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
