"""Settings that nobody has given, chosen to suit the data and the architecture that is trained first."""

from spnas_detect.suiting.canvas import Canvas, suitable_canvas
from spnas_detect.suiting.heads import enough_detections, head_sizes, sample_numbers
from spnas_detect.suiting.suited import for_other_data, is_generated, suited

__all__ = [
    "Canvas",
    "enough_detections",
    "for_other_data",
    "head_sizes",
    "is_generated",
    "sample_numbers",
    "suitable_canvas",
    "suited",
]
