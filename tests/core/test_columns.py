"""Columns line up on a terminal, hold every cell whole, and cost little per row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from spnas_core.commands.columns import GAP, Column, format_columns, numbers
from spnas_core.commands.wording import printable


def test_numbers_stand_right_and_words_left():
    columns = (*numbers("id"), Column("class"), *numbers("AP"))
    assert list(format_columns(columns, [("7", "car [front]", "–"), ("12", "dog", "0.500")])) == [
        "id  class           AP",
        " 7  car [front]      –",
        "12  dog          0.500",
    ]


def test_wide_letters_take_two_cells_and_accents_none():
    assert list(format_columns((Column("class"), *numbers("n")), [("自転車", "1"), ("cafe\u0301", "22")])) == [
        "class    n",
        "自転車   1",
        "cafe\u0301    22",
    ]


def test_no_rows_leave_the_headings_and_a_row_of_another_length_is_refused():
    assert list(format_columns((Column("a"), Column("b")), [])) == ["a  b"]
    with pytest.raises(ValueError, match="zip"):
        list(format_columns((Column("a"), Column("b")), [("1",)]))


cells = st.text(st.characters(codec=None, exclude_categories=()), max_size=8) | st.sampled_from(["自", "\x1b[0m", "–"])


@given(st.lists(st.tuples(cells, cells, cells), max_size=6))
def test_columns_begin_at_the_same_cell_in_every_line_and_hold_everything(rows):
    columns = (Column("left"), Column("right", "right"), Column("last"))
    lines = list(format_columns(columns, rows))
    shown = [[column.heading for column in columns], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    assert len(lines) == len(rows) + 1
    for line, (left, right, last) in zip(lines, shown, strict=True):
        after, before = (" " * (width - cell_len(cell)) for width, cell in zip(widths, (left, right), strict=False))
        assert line == f"{left}{after}{GAP}{before}{right}{GAP}{last}".rstrip()
        assert line.isprintable() or printable(line) == line
