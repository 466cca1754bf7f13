"""Options that several commands have."""

import tomllib
from typing import Any

from spnas_core.errors import ConfigError


def read_options(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Read ``key=value`` pairs; a value is TOML, or text where it is none."""
    options: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--data-option {assignment!r} must look like key=value, for example test=val.json")
        try:
            options[key.strip()] = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            options[key.strip()] = text.strip()
    return options
