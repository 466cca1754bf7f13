"""What is printed appears as it is: no markup, no emoji, nothing that a terminal obeys, nothing cut off."""

import ast
import io
from functools import cache
from pathlib import Path

import pytest
from rich.live import Live
from rich.table import Table

from spnas_core.commands.columns import Column, numbers
from spnas_core.commands.console import PlainConsole, make_console, write_lines
from spnas_core.commands.tables import make_table

SOURCES = sorted((Path(__file__).parents[2] / "packages").glob("*/src/**/*.py"))
ODD = ["[/data/photo.jpg]", "car [front]", "[bold red]", ":car: :smile:", r"\[x]", "[/]", "[link=file:///]"]


def printed(part, *, width: int = 120, **options) -> str:
    file = io.StringIO()
    PlainConsole(file=file, width=width, **options).show(part)
    return file.getvalue()


@pytest.mark.parametrize("text", ODD)
@pytest.mark.parametrize("terminal", [False, True])
def test_text_is_no_markup_wherever_it_stands(text, terminal):
    assert printed(text, force_terminal=terminal) == f"{text}\n"
    table = make_table((Column(text), *numbers("n")), title=text)
    table.add_row(text, "1")
    assert printed(table, force_terminal=terminal).count(text) == 3


def test_nothing_is_cut_off():
    long = "".join(map(str, range(200)))
    assert printed(long) == f"{long}\n"
    table = make_table((Column("class"),))
    table.add_row(long)
    lines = [line.strip("│ ") for line in printed(table).splitlines() if line.startswith("│")]
    assert len(lines) > 1
    assert "".join(lines) == long


def cells_of(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in text.splitlines()[1:]]


def turning(rows: int) -> str:
    """A table of 92 letters' width."""
    table = make_table((Column(""), *numbers("first \x1b", *"bcdef")), title="title", turns=True)
    for row in range(rows):
        table.add_row(f"row {row}", *(f"{row}{column}" * 6 for column in range(6)))
    return table


@pytest.mark.parametrize(("width", "rows", "turns"), [(120, 2, False), (60, 2, True), (80, 4, True), (80, 5, False)])
def test_a_table_too_wide_for_the_terminal_turns_where_its_rows_are_few(width, rows, turns):
    text = printed(turning(rows), width=width)
    assert "\x1b" not in text
    lines = [cells for cells in cells_of(text) if len(cells) > 1]
    if turns:
        assert [line[0] for line in lines] == ["", r"first \x1b", "b", "c", "d", "e", "f"]
        assert lines[1][1:] == [f"{row}0" * 6 for row in range(rows)]
        assert text.splitlines()[0].strip() == "title"
    else:
        assert [line[0] for line in lines if line[0]] == [f"row {row}" for row in range(rows)]


@pytest.mark.parametrize("rows", [3, 5])
def test_the_rows_of_a_table_far_too_wide_are_listed(rows):
    text = printed(turning(rows), width=30)
    lines = [line.split() for line in text.splitlines()[1:]]
    for row in range(rows):
        assert lines[8 * row : 8 * row + 3] == [
            ["row", str(row)],
            ["first", r"\x1b", f"{row}0" * 6],
            ["b", f"{row}1" * 6],
        ]
    assert lines.count([]) == rows - 1
    assert max(map(len, text.splitlines())) <= 30


def test_what_a_terminal_would_obey_is_escaped_wherever_it_stands():
    evil = "\x1b]0;title\a\r\n\udcff"
    escaped = r"\x1b]0;title\x07\r\n\udcff"
    assert printed(evil) == f"{escaped}\n"
    table = make_table((Column(evil),), title=evil)
    table.add_row(evil)
    assert printed(table).count(escaped) == 3
    console = PlainConsole(file=io.StringIO(), width=120)
    console.rule(evil)
    with Live(evil, console=console):
        pass
    grid = Table.grid()
    grid.add_row(evil)
    console.print(grid)
    assert console.file.getvalue().count(escaped) == 3
    assert "\x1b" not in console.file.getvalue()


def test_consoles_write_to_the_stream_asked_for(capsys):
    make_console().show("out")
    make_console(stderr=True).show("err")
    write_lines(["one", "two"])
    assert capsys.readouterr() == ("out\none\ntwo\n", "err\n")


@pytest.mark.parametrize(
    ("terminal", "kind", "can_redraw"),
    [(True, "xterm-256color", True), (True, "dumb", False), (True, "unknown", False), (False, "xterm-256color", False)],
)
def test_a_dumb_terminal_cannot_redraw(monkeypatch, terminal, kind, can_redraw):
    monkeypatch.setenv("TERM", kind)
    assert PlainConsole(force_terminal=terminal).can_redraw is can_redraw


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_what_asks_for_colours_makes_no_terminal_of_a_file(monkeypatch, variable):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv(variable, "1")
    console = PlainConsole(file=io.StringIO())
    assert console.is_terminal
    assert not console.can_redraw


# The rules that hold because nobody goes another way


@cache
def nodes() -> list[tuple[Path, ast.AST]]:
    """All that the packages' modules consist of."""
    return [(path, node) for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


@cache
def all_calls() -> list[tuple[Path, str, ast.Call]]:
    """All calls in the packages, and what they call."""
    return [(path, ast.unparse(node.func), node) for path, node in nodes() if isinstance(node, ast.Call)]


def calls(name: str) -> list[tuple[Path, ast.Call]]:
    """All calls of a function or method of that dotted name in the packages."""
    return [(path, node) for path, called, node in all_calls() if called.endswith(name)]


def test_nobody_else_makes_a_console():
    assert {path.name for path, _ in calls("Console")} == {"console.py"}
    for shortcut in ("get_console", "from_markup", "TextColumn", "rich.print", "render_markup"):
        assert calls(shortcut) == []


def test_nobody_else_asks_whether_there_is_a_terminal():
    """For ``can_redraw`` is what they want to know."""
    asked = {
        path.name
        for path, node in nodes()
        if isinstance(node, ast.Attribute) and node.attr in {"is_terminal", "is_interactive", "isatty"}
    }
    assert asked == {"console.py"}


def test_outside_text_goes_through_a_console():
    told = {path.relative_to(path.parents[3]).as_posix() for path, call in calls("click.echo") if not _is_json(call)}
    # One line of each error, escaped there; a counter of our own words.
    assert told == {"src/spnas_search/cli/main.py", "src/spnas_detect/commands/counting.py"}


def _is_json(call: ast.Call) -> bool:
    return isinstance(call.args[0], ast.Call) and ast.unparse(call.args[0].func) == "to_json"


def test_all_json_for_others_is_written_by_one_function():
    shown = {"commands", "cli", "reports", "jobs", "inference"}
    dumps = [path for path, _ in [*calls("json.dumps"), *calls("json.dump")] if shown & set(path.parts)]
    assert {path.name for path in dumps} == {"json_text.py"}
