"""A run's configuration: TOML read into models, every error in one line."""

from spnas_search.settings.models import (
    BudgetSettings,
    FinalSettings,
    RungSettings,
    RunSettings,
    SpaceSettings,
)
from spnas_search.settings.resolution import ResolvedSettings, read_toml, resolve, set_key, set_value, write_toml

__all__ = [
    "BudgetSettings",
    "FinalSettings",
    "ResolvedSettings",
    "RunSettings",
    "RungSettings",
    "SpaceSettings",
    "read_toml",
    "resolve",
    "set_key",
    "set_value",
    "write_toml",
]
