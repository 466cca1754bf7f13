"""A run's configuration: TOML read into models, every error in one line."""

from spnas_search.settings.models import (
    BudgetSettings,
    FinalSettings,
    RungSettings,
    RunSettings,
    SpaceSettings,
)
from spnas_search.settings.presets import DEFAULTS, over_preset, search_values, strategy_part
from spnas_search.settings.resolution import (
    ResolvedSettings,
    moved,
    of_begun,
    read_toml,
    resolve,
    set_key,
    set_value,
    strategy_name,
    suit,
    write_toml,
)

__all__ = [
    "DEFAULTS",
    "BudgetSettings",
    "FinalSettings",
    "ResolvedSettings",
    "RunSettings",
    "RungSettings",
    "SpaceSettings",
    "moved",
    "of_begun",
    "over_preset",
    "read_toml",
    "resolve",
    "search_values",
    "set_key",
    "set_value",
    "strategy_name",
    "strategy_part",
    "suit",
    "write_toml",
]
