"""Configurations: TOML read into pydantic models, every error in one line. Needs ``spnas-core[commands]``."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from spnas_core.errors import ConfigError, suggestion

_Model = TypeVar("_Model", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing, or malformed; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None


def write_toml(values: Mapping[str, Any], path: Path) -> None:
    """Write plain values as TOML."""
    path.write_text(tomli_w.dumps(values), encoding="utf-8")


def set_key(values: dict[str, Any], assignment: str) -> None:
    """Apply one ``key=value``, dots in the key descending into tables.

    Args:
        values: changed in place.
        assignment: the value is read as TOML, and taken as text where it is none.

    Raises:
        ConfigError: there is no ``=``, or the key descends into something that is no table.
    """
    key, equals, text = assignment.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {assignment!r} must look like key=value, for example strategy.pool=6")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {assignment!r}: {part!r} is a value, not a table")
    table[parts[-1]] = value


def validate(model: type[_Model], values: Mapping[str, Any], prefix: str = "") -> _Model:
    """Check values against a model.

    Args:
        model: of pydantic.
        values: nested plain values, as TOML gives them; what is missing takes its default.
        prefix: of the keys in messages, ending in a dot.

    Raises:
        ConfigError: the first wrong key, its value, and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error.errors(), model, prefix)) from None


def _explain(errors: list[ErrorDetails], model: type[BaseModel], prefix: str) -> str:
    """Explain the first wrong key; where it may be one thing or another, say all of them."""
    first = errors[0]
    table, keys = _table_at(model, first)
    key = prefix + ".".join(keys)
    if first["type"] == "extra_forbidden":
        return f"there is no setting {key!r}{suggestion(keys[-1], table.model_fields)}"
    messages = [error["msg"][0].lower() + error["msg"][1:] for error in errors if _table_at(model, error)[1] == keys]
    return f"{key} is {first['input']!r}: {', or '.join(dict.fromkeys(messages))}"


def _table_at(model: type[BaseModel], error: ErrorDetails) -> tuple[type[BaseModel], list[str]]:
    """Follow an error's location; return the innermost table and the keys as the user has written them.

    Behind the keys a location may go on with positions in lists and with the names of a union's members.
    """
    keys: list[str] = []
    for part in error["loc"]:
        field = model.model_fields.get(str(part))
        if field is None:
            if error["type"] == "extra_forbidden":
                keys.append(str(part))
            break
        keys.append(str(part))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
        else:
            if get_origin(field.annotation) is dict:
                keys.extend(str(inner) for inner in error["loc"][len(keys) : len(keys) + 1])
            break
    return model, keys


def without_none(value: Any) -> Any:
    """Leave out None, which TOML cannot say; missing keys take their default, which is None where it was."""
    if isinstance(value, dict):
        return {key: without_none(item) for key, item in value.items() if item is not None}
    return value
