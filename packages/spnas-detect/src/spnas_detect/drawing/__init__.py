"""Pictures of what a detector finds."""

from spnas_detect.drawing.boxes import DrawnBox, draw_boxes
from spnas_detect.drawing.colours import class_colour
from spnas_detect.drawing.comparison import side_by_side
from spnas_detect.drawing.files import is_our_picture, save_picture

__all__ = ["DrawnBox", "class_colour", "draw_boxes", "is_our_picture", "save_picture", "side_by_side"]
