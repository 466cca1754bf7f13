"""Settings by which a strategy proposes one child at a time, as an asynchronous search asks for them."""

from typing import Any, TypeVar

from pydantic import BaseModel

_Settings = TypeVar("_Settings", bound=BaseModel)

ROUND = "round"


def one_by_one(settings: _Settings) -> _Settings:
    """Return a strategy's settings with rounds of one child, those of strategies inside it too.

    What has no ``round`` among its settings stays as it is: of its round the search takes the first children.

    Args:
        settings: of a ``[strategy]`` table.
    """
    changed = {name: _changed(value) for name, value in settings if name in type(settings).model_fields}
    if ROUND in type(settings).model_fields:
        changed[ROUND] = 1
    return settings.model_copy(update=changed)


def _changed(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return one_by_one(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_changed(one) for one in value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):  # the table of a strategy that is built later
        from spnas_search.strategies._base import strategy_plugin

        return {**value, ROUND: 1} if ROUND in strategy_plugin(value["name"]).settings.model_fields else value
    return value
