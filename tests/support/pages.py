"""Pages as a browser reads them, by Python's own parser: elements, attributes, texts."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def all(self, tag: str | None = None, **attributes: str):
        """Every element below, by tag and attributes; ``class_`` is one of its classes."""
        wanted = attributes.pop("class_", None)
        for child in self.children:
            if isinstance(child, Element):
                fits = (tag is None or child.tag == tag) and attributes.items() <= child.attributes.items()
                if fits and (wanted is None or wanted in child.attributes.get("class", "").split()):
                    yield child
                yield from child.all(tag, **attributes, **({} if wanted is None else {"class_": wanted}))

    def one(self, tag: str | None = None, **attributes: str):
        (found,) = self.all(tag, **attributes)
        return found


VOID = {"meta", "input", "br", "img", "link", "hr"}


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].children.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def parse_page(text) -> Element:
    """The page's elements; what is not well nested is refused."""
    parser = _Parser()
    parser.feed(str(text))
    parser.close()
    assert parser.open == [parser.root]
    return parser.root


def sections(page: Element) -> dict[str, Element]:
    return {one.attributes["id"]: one for one in page.all("section")}


def points(page: Element) -> dict[str, list[str]]:
    return json.loads(page.one("script", id="points").text)


def cells(table: Element) -> list[list[str]]:
    return [
        [cell.text for cell in row.children if isinstance(cell, Element)]
        for body in table.all("tbody")
        for row in body.all("tr")
    ]
