"""SVG that is put together element by element: whatever text comes in, the XML writer escapes it."""

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from spnas_core.commands.wording import printable

NAMESPACE = "http://www.w3.org/2000/svg"
FONT = "Helvetica, Arial, sans-serif"


class Drawing:
    """A drawing in pixels, the origin at its upper left corner.

    An attribute's name takes ``_`` for ``-`` and ``class_`` for ``class``; numbers are written to a tenth. Colours
    are attributes, which any style sheet of a page may replace by class.

    Args:
        width: in pixels.
        height: in pixels.
        label: what it shows, for those who do not see it.
        attributes: of the outermost element.
    """

    def __init__(self, width: float, height: float, label: str, **attributes: object) -> None:
        box = f"0 0 {plain(width)} {plain(height)}"
        given = {"viewBox": box, "width": plain(width), "height": plain(height), "role": "img"}
        self._root = ET.Element(
            "svg", {"xmlns": NAMESPACE, **given, "aria-label": printable(label), **_named(attributes)}
        )
        self._at = [self._root]

    def add(self, tag: str, text: str = "", /, **attributes: object) -> ET.Element:
        """Add an element on top of what is there; returns it."""
        element = ET.SubElement(self._at[-1], tag, _named(attributes))
        if text:
            element.text = printable(text)
        return element

    def begin(self, **attributes: object) -> None:
        """Begin a group: what follows is inside, up to ``end``."""
        self._at.append(self.add("g", **attributes))

    def end(self) -> None:
        """End the group that was begun last."""
        self._at.pop()

    def rectangle(self, x: float, y: float, width: float, height: float, **attributes: object) -> None:
        """Add a rectangle by its upper left corner and its sides."""
        self.add("rect", x=x, y=y, width=width, height=height, **attributes)

    def line(self, points: Sequence[tuple[float, float]], **attributes: object) -> None:
        """Add a polyline through two points or more."""
        self.add(
            "path", d="M" + "L".join(f"{plain(x)} {plain(y)}" for x, y in points), **{"fill": "none", **attributes}
        )

    def write(self, x: float, y: float, text: str, **attributes: object) -> None:
        """Add a line of text; ``y`` is its base line."""
        self.add("text", text, x=x, y=y, **attributes)

    def text(self) -> str:
        """Return the SVG, which stands in an HTML page as it does in a file."""
        return ET.tostring(self._root, encoding="unicode")


def plain(number: float) -> str:
    """Write a coordinate: to a tenth of a pixel, without trailing zeros."""
    return f"{number:.1f}".removesuffix(".0")


def _named(attributes: dict[str, object]) -> dict[str, str]:
    return {
        name.rstrip("_").replace("_", "-"): plain(value) if isinstance(value, (int, float)) else printable(str(value))
        for name, value in attributes.items()
    }
