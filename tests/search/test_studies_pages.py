"""What studies write as Markdown shows what it was given, and obeys none of it."""

import markdown_it
import pytest

from spnas_core.commands.columns import Column
from spnas_search.studies.pages import escaped, markdown_table


@pytest.mark.parametrize(
    "text",
    [
        "<b>x</b> <script>alert(1)</script>",
        "[a](javascript:1) ![b](c.png)",
        "`q` *r* **s** _t_ __u__ ~~v~~ r~bifpn r~fpn",
        "a | b || c \\| d \\",
        "&lt;b&gt; &amp;",
        "b@8_11-21-21-21_0-1-0-0 and some_name_of_mine",
        "# no heading",
    ],
)
def test_nothing_from_outside_is_markup(text):
    parser = markdown_it.MarkdownIt("gfm-like", {"linkify": False})
    (paragraph,) = [token for token in parser.parse(f"text {escaped(text)}") if token.type == "inline"]
    assert all(child.type in {"text", "text_special"} for child in paragraph.children), paragraph.children
    assert "".join(child.content for child in paragraph.children) == f"text {text}"
    cells = parser.parse("\n".join(list(markdown_table(("title", [Column("a"), Column("b")], [(text, text)])))[2:]))
    bodies = ["".join(child.content for child in token.children) for token in cells if token.type == "inline"]
    assert bodies == ["a", "b", text, text]


def test_codes_stay_readable_as_they_are_written():
    assert escaped("b@8_11-21-21-21") == "b@8_11-21-21-21"
