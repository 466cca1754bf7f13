"""Networks as figures: SVG, from an architecture alone."""

from spnas_core.drawing.network import draw_network
from spnas_core.drawing.svg import Drawing

__all__ = ["Drawing", "draw_network"]
