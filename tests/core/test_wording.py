"""Numbers that do not exist are dashes, and text from outside is escaped where it would do harm, nowhere else."""

import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas_core.commands.wording import amount, amounts, duration, number, numbers, printable, shortened


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_dash(value):
    assert [amount(value), duration(value), number(value), number(value, signed=True)] == ["–"] * 4


def test_numbers_read_as_documented():
    assert [amount(44.2e6), amount(999), amount(0)] == ["44.2 M", "999", "0"]
    assert [duration(245), duration(7445)] == ["4:05", "2:04:05"]
    assert [number(0.5), number(0.5, signed=True), number(-0.5, signed=True)] == ["0.500", "+0.500", "-0.500"]


@given(st.lists(st.none() | st.floats() | st.floats(5e5, 2e9) | st.integers(0, 2 * 10**9)), st.booleans())
def test_many_numbers_read_as_each_of_them_does(values, signed):
    assert numbers(values, signed=signed) == [number(value, signed=signed) for value in values]
    assert amounts(values) == [amount(value) for value in values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("two\nlines\r\a\x7f\x9b", r"two\nlines\r\x07\x7f\x9b"),
        ("caf\udce9", r"caf\udce9"),
        ("gpj.exe\u202eabc\u200b\u2028", r"gpj.exe\u202eabc\u200b\u2028"),
        ("voiture\xa0rouge 自転車 👩\u200d🚒 می\u200cخواهم [bold]:car:", None),
    ],
)
def test_only_what_a_terminal_obeys_or_nobody_sees_is_escaped(text, expected):
    assert printable(text) == (text if expected is None else expected)


def test_a_text_that_is_too_long_loses_its_middle():
    assert shortened("short") == "short"
    assert shortened("abcdefgh", 4) == "ab … gh"
    assert len(shortened("7" * 100_000)) < 5000


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_printable_text_reaches_any_utf8_terminal_in_one_line(text):
    shown = printable(text)
    shown.encode()
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown
