"""Whatever is written as JSON can be read by every reader."""

import json
import math
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spnas_core.commands.json_text import to_json


def strictly(text: str):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        ({"a": [1, {"b": (math.inf, -math.inf)}]}, {"a": [1, {"b": [None, None]}]}),
        ({"cost": np.float32("nan"), "n": np.int64(3), "x": np.float32(0.5)}, {"cost": None, "n": 3, "x": 0.5}),
        (np.array([[1.5, np.nan]]), [[1.5, None]]),
        (torch.tensor([1.0, math.nan]), [1.0, None]),
        (
            {2: "a", None: "b", True: "c", np.int64(7): "d", (1, 2): "e"},
            {"2": "a", "null": "b", "true": "c", "7": "d", "(1, 2)": "e"},
        ),
        ({math.nan: 5}, {"null": 5}),
        ({"file": Path("photos/a.jpg")}, {"file": "photos/a.jpg"}),
        (MappingProxyType({"b": {3, 1, 2}}), {"b": [1, 2, 3]}),
        ("car [front] \udcff \x1b é", "car [front] \udcff \x1b é"),
        ({"object": object}, {"object": "<class 'object'>"}),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_every_value_has_a_json(value, expected, indent):
    text = to_json(value, indent=indent)
    assert strictly(text) == expected
    assert text.isascii()
    assert ("\n" in text) == (indent is not None and isinstance(expected, (dict, list)))


nothing_special = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))


@given(st.recursive(nothing_special, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_plain_values_come_back_and_only_undefined_numbers_are_lost(value):
    def without_undefined(item):
        if isinstance(item, float):
            return item if math.isfinite(item) else None
        if isinstance(item, list):
            return [without_undefined(part) for part in item]
        return {key: without_undefined(part) for key, part in item.items()} if isinstance(item, dict) else item

    text = to_json(value)
    assert strictly(text) == without_undefined(value)
    assert text.isascii()
