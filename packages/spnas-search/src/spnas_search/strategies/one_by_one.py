"""Settings by which a strategy proposes one child at a time, as an asynchronous search asks for them."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

_Settings = TypeVar("_Settings", bound=BaseModel)

ROUND = "round"
CANDIDATES = "candidates"
"""What a table of a strategy inside another one has beside that strategy's own settings."""
PER_UPDATE = "per_update"
"""Children that are learnt from at once, where a strategy learns; None for as many as its round."""


def one_by_one(settings: _Settings) -> _Settings:
    """Return a strategy's settings with rounds of one child, those of strategies inside it too.

    What is learnt from at once stays as many. What has no ``round`` among its settings stays as it is: of its round the
    search takes the first children.

    Args:
        settings: of a ``[strategy]`` table.
    """
    changed = {name: _changed(value) for name, value in settings if name in type(settings).model_fields}
    return settings.model_copy(update={**changed, **_one(type(settings), changed)})


def _changed(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return one_by_one(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_changed(one) for one in value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):  # the table of a strategy that is built later
        from spnas_search.strategies._base import strategy_plugin

        model = strategy_plugin(value["name"]).settings
        try:
            model.model_validate({key: one for key, one in value.items() if key != CANDIDATES})
        except ValidationError:  # whoever builds it tells of what was written
            return value
        return {**value, **_one(model, value)}
    return value


def _one(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that change, given those that are said."""
    fields = model.model_fields
    if ROUND not in fields:
        return {}
    if PER_UPDATE not in fields or values.get(PER_UPDATE, fields[PER_UPDATE].default) is not None:
        return {ROUND: 1}
    return {ROUND: 1, PER_UPDATE: values.get(ROUND, fields[ROUND].default)}
