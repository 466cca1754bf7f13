"""Configurations: TOML read into pydantic models, every error in one line. Needs ``spnas-core[commands]``."""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from spnas_core.durable import write_durably
from spnas_core.errors import ConfigError, suggestion
from spnas_core.paths import is_utf8

_BLANKS = " \t\r\n"  # others, such as a no-break space, belong to what was typed
_KINDS: dict[object, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    dict: "a table",
}
_WORDS = (("tuple", "list"), ("dictionary", "table"), (" after validation", ""), (r" or instance of \w+", ""))
_Model = TypeVar("_Model", bound=BaseModel)
_NOTHING: Mapping[str, type[BaseModel]] = {}
_MOST_ALIKE = 8
"""Keys elsewhere that the refusal of an unknown one names."""

Large = Annotated[int, Field(lt=2**63)]
"""Whole number in settings that what there is is compared with; files and databases hold 64 bit."""
Count = Annotated[int, Field(le=10**6)]
"""Whole number in settings of children, tries or epochs: more would never end."""
Few = Annotated[int, Field(le=1000)]
"""Whole number in settings of what takes time or memory by itself, such as stages, mutations or units."""
Extent = Annotated[int, Field(le=2**16)]
"""Whole number in settings of channels, or of pixels along one side."""
Seed = Annotated[Large, Field(ge=0)]
"""Seed in settings."""


class Table(BaseModel):
    """A table of settings: what it does not know is refused, and so are numbers that are infinite or none."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Opened(dict[str, Any]):
    """A table that setting a single key has made: what it does not name keeps its default."""


def absolute_path(text: str) -> str:
    """Return a path that does not depend on the current folder; one that does not exist as it was typed.

    ``~`` is the home folder.
    """
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path's raises where there is no such user
    if not os.path.exists(expanded):  # noqa: PTH110 - Path's raises for names too long
        return text
    path = Path(expanded)
    return str(path.resolve() if ".." in path.parts else path.absolute())


NO_TOML = (ValueError, RecursionError)
"""What reading TOML may raise: wrong syntax and bytes, numbers of thousands of digits, brackets inside brackets."""


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing, or malformed; the message has the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except NO_TOML as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None


def write_toml(values: Mapping[str, Any], path: Path) -> None:
    """Write plain values as TOML, durably: the file is complete or as it was."""
    write_durably(path, tomli_w.dumps(values))


def set_key(values: dict[str, Any], assignment: str) -> None:
    """Apply one ``key=value``, dots in the key descending into tables.

    Args:
        values: changed in place.
        assignment: the value is read as TOML, and taken as text where it is none.

    Raises:
        ConfigError: there is no ``=``, or the key descends into something that is no table.
    """
    key, value = read_assignment("--set", assignment, "strategy.pool=6")
    try:
        set_value(values, key, value)
    except ConfigError as error:
        raise ConfigError(f"--set {assignment!r}: {error}") from None


def set_value(values: dict[str, Any], key: str, value: object) -> None:
    """Set one value as it is, dots in the key descending into tables.

    Args:
        values: changed in place.
        key: such as ``task.data``.
        value: plain; a text stays that text, whatever characters it has.

    Raises:
        ConfigError: the key descends into something that is no table, or a part of it is empty.
    """
    parts = key.split(".")
    if not all(parts):
        raise ConfigError(f"{key!r} is no key: write it like strategy.pool")
    table = values
    for part in parts[:-1]:
        table = table.setdefault(part, _Opened())
        if not isinstance(table, dict):
            raise ConfigError(f"{part!r} is a value, not a table")
    table[parts[-1]] = value


def merge_tables(values: dict[str, Any], more: Mapping[str, Any], whole: Collection[str] = ()) -> None:
    """Put values over others, table by table; a table whose ``name`` is another one replaces, since its keys differ.

    Args:
        values: changed in place.
        more: these win; their tables become part of ``values``.
        whole: names of tables that replace the one that is there, unless ``set_key`` has opened them for single keys.

    Example: ``{"a": {"x": 2}}`` over ``{"a": {"x": 1, "y": 1}}`` gives ``{"a": {"x": 2, "y": 1}}``, and
    ``{"a": {"x": 2}}`` where ``a`` is whole.
    """
    for key, value in more.items():
        before = values.get(key)
        is_mixed = isinstance(value, _Opened) or key not in whole
        if isinstance(value, dict) and isinstance(before, dict) and is_mixed and not _are_named_apart(before, value):
            merge_tables(before, value, whole)
        else:
            values[key] = value


def _are_named_apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return "name" in one and "name" in other and one["name"] != other["name"]


def read_assignment(option: str, assignment: str, example: str) -> tuple[str, Any]:
    """Split ``key=value``; the value is read as TOML, and taken as text where it is none.

    Args:
        option: that it was given with, for the message.
        assignment: as typed.
        example: of a good one, for the message.

    Raises:
        ConfigError: there is no ``=``, or no key before it.
    """
    key, equals, text = assignment.partition("=")
    key, text = key.strip(_BLANKS), text.strip(_BLANKS)
    if not equals or not all(key.split(".")):
        raise ConfigError(f"{option} {assignment!r} must look like key=value, for example {example}")
    try:
        read = tomllib.loads(f"value = {text}")
    except NO_TOML:
        return key, text
    return key, read["value"] if read.keys() == {"value"} else text  # more keys: a text with line breaks


def validate(
    model: type[_Model], values: Mapping[str, Any], prefix: str = "", beside: Mapping[str, type[BaseModel]] = _NOTHING
) -> _Model:
    """Check values against a model.

    Args:
        model: of pydantic.
        values: nested plain values, as TOML gives them; what is missing takes its default.
        prefix: of the keys in messages, ending in a dot.
        beside: models of other tables by the prefix of their keys, in which an unknown key may have its place.

    Raises:
        ConfigError: the first key that is wrong or missing, its value, and what is allowed; or the first rule over a
            whole table that is broken.
    """
    for key, text in _unwritable(values):
        raise ConfigError(f"{prefix}{key} is {text!r}: it must be text that UTF-8 can hold; rename the file or folder")
    try:
        settings = model.model_validate(_over_defaults(model, values))
    except ValidationError as error:
        raise ConfigError(_explain(error.errors(), model, prefix, beside)) from None
    for key, value in _truths_as_numbers(values, settings):
        raise ConfigError(f"{prefix}{key} is {value!r}: input should be a number")
    return settings


def _unwritable(values: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield texts that no file of settings can hold, such as paths in another encoding, with their keys."""
    if isinstance(values, str):
        if not is_utf8(values):
            yield key, values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _unwritable(value, f"{key}.{name}" if key else str(name))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _unwritable(value, key)


def _truths_as_numbers(raw: object, taken: object, key: str = "") -> Iterator[tuple[str, bool]]:
    """Yield what is true or false in a configuration where pydantic has made a number of it, with its key."""
    if isinstance(raw, bool):
        if isinstance(taken, int | float) and not isinstance(taken, bool):
            yield key, raw
    elif isinstance(raw, Mapping):
        inner = taken if isinstance(taken, Mapping) else getattr(taken, "__dict__", {})
        for name, value in raw.items():
            yield from _truths_as_numbers(value, inner.get(name), f"{key}.{name}" if key else name)
    elif isinstance(raw, list | tuple) and isinstance(taken, list | tuple):
        for value, item in zip(raw, taken, strict=False):
            yield from _truths_as_numbers(value, item, key)


def _over_defaults(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill tables of which only single keys were set with the rest of their default, where that is a table."""
    filled = dict(values)
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is None or not isinstance(value, Mapping):
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            filled[name] = _over_defaults(field.annotation, value)
        elif isinstance(value, _Opened) and isinstance(default := field.get_default(call_default_factory=True), dict):
            filled[name] = {**default, **value}
    return filled


def _explain(
    errors: list[ErrorDetails], model: type[BaseModel], prefix: str, beside: Mapping[str, type[BaseModel]]
) -> str:
    """Explain the first wrong key; where it may be one thing or another, say all of them."""
    first = errors[0]
    table, keys = _table_at(model, first)
    key = prefix + ".".join(keys)
    if first["type"] == "extra_forbidden":
        found = _ending_alike(keys[-1], {prefix: model, **beside})
        alike = sorted(found, key=lambda other: other.rpartition(".")[2] != keys[-1])  # those called so come first
        return f"there is no setting {key!r}{suggestion(keys[-1], table.model_fields, alike[:_MOST_ALIKE])}"
    if first["type"] == "missing" and len(first["loc"]) == len(keys):
        return f"{key} is missing: it must be given{_kind(table.model_fields[keys[-1]].annotation)}"
    same = [error for error in errors if _table_at(model, error)[1] == keys]
    message = ", or ".join(dict.fromkeys(_message(error, model) for error in _innermost(same)))
    if first["type"] == "value_error" and isinstance(first["input"], Mapping):
        where = key.removesuffix(".")
        return f"{where}: {message}" if where else message
    return f"{key} is {_short(first['input'])}: {message}"


def _short(value: object) -> str:
    """Write a value that somebody has given, and of a long one its beginning."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes no number of thousands of digits
        return f"a {type(value).__name__} that is too long to be shown"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


MOST_SHOWN = 500
"""Characters of a wrong value that a message shows."""


def _ending_alike(name: str, models: Mapping[str, type[BaseModel]]) -> Iterator[str]:
    """Yield the keys of tables, and of those inside, that are called so or end so: ``warm_start_epochs`` for epochs."""
    for prefix, model in models.items():
        for key, field in model.model_fields.items():
            if f"_{key}".endswith(f"_{name}"):
                yield f"{prefix}{key}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                yield from _ending_alike(name, {f"{prefix}{key}.": field.annotation})


def _kind(annotation: object) -> str:
    """Say what kind of value a field takes, where that is one of the simple ones."""
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    kind = _KINDS.get(dict if is_model else get_origin(annotation) or annotation)
    return f", as {kind}" if kind else ""


def _innermost(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out lists that are too short only because pydantic drops what is wrong inside of them."""
    places = [error["loc"] for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(len(place) > len(error["loc"]) and place[: len(error["loc"])] == error["loc"] for place in places)
    ]


def _message(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Say what is wrong, in the words of TOML; a list that ends too early lacks a field in those of pydantic."""
    place = error["loc"][len(_table_at(model, error)[1]) :]
    if error["type"] == "missing" and isinstance(last := place[-1], int):
        return f"it has {last} value(s), and value {last + 1} is required"
    if error["type"] == "missing":
        return f"{last!r} is missing"
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    message = error["msg"][0].lower() + error["msg"][1:]
    for word, ours in _WORDS:
        message = re.sub(word, ours, message)
    return message


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
