"""Every number of every table of settings has its limits."""

from collections.abc import Iterator
from typing import get_args

import pytest
from pydantic import BaseModel

from spnas_core.configuration import validate
from spnas_core.errors import ConfigError
from spnas_core.plugins import registry
from spnas_detect.jobs import TrainSettings
from spnas_search.settings import RunSettings


def models(*kept: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield models and those of their tables."""
    for model in kept:
        yield model
        inner = [field.annotation for field in model.model_fields.values()]
        yield from models(*(one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)))


def holds(annotation: object, kind: type) -> bool:
    return annotation is kind or any(holds(part, kind) for part in get_args(annotation))


OWN = [
    item.settings
    for noun in ("strategies", "screens")
    for item in registry(noun).items.values()
    if item.settings.__module__.startswith("spnas_search.")  # not those of plugins that are installed beside
]
REQUIRED = {TrainSettings: {"architecture": "b@8_1-1"}}
FIELDS = {
    (model, name, field.annotation)
    for model in models(RunSettings, TrainSettings, *OWN)
    for name, field in model.model_fields.items()
}


def named(part: object) -> str:
    return part if isinstance(part, str) else getattr(part, "__name__", str(part))


def with_a(kind: type) -> pytest.MarkDecorator:
    """Parametrise by all settings that hold a kind of number."""
    found = sorted((model.__name__, name, model) for model, name, annotation in FIELDS if holds(annotation, kind))
    return pytest.mark.parametrize(("model", "name"), [(model, name) for _, name, model in found], ids=named)


def nested(value: float) -> tuple[object, ...]:
    """A number as such, in lists, in a pair behind another number, and as a value of a table."""
    return value, [value], [[value, value]], [[0.5, value]], {"swap": value}


@with_a(int)
def test_every_whole_number_has_an_upper_limit(model, name):
    huge = 10**30
    for value in nested(huge):
        with pytest.raises(ConfigError) as caught:
            validate(model, {**REQUIRED.get(model, {}), name: value})
        if "less than" in str(caught.value):
            assert str(caught.value).startswith(f"{name} is {huge}: ")
            return
    raise AssertionError(f"nothing limits {name}")


@with_a(float)
@pytest.mark.parametrize("text", ["inf", "nan"])
def test_no_number_is_infinite_or_none(model, name, text):
    for value in nested(float(text)):
        with pytest.raises(ConfigError) as caught:
            validate(model, {**REQUIRED.get(model, {}), name: value})
        if "should be" in (message := str(caught.value)) and f" is {text}: " in message:
            return
    raise AssertionError(f"{name} may be {text}")
