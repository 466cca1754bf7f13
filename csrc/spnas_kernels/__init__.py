"""Native operators for detection and for weight inheritance.

Each one has a plain reference of the same contract in ``spnas_kernels.references``: the oracle of the tests, and what
runs where the native libraries were not built.
"""

from spnas_kernels import _library

_library.load()  # before the operators' modules, which register what torch must know of a loaded operator

from spnas_kernels.assign_targets import assign_targets  # noqa: E402
from spnas_kernels.copy_plan import CopyPlan  # noqa: E402
from spnas_kernels.copy_weights import copy_weights_  # noqa: E402
from spnas_kernels.match_detections import Matches, match_detections  # noqa: E402
from spnas_kernels.nms_grouped import nms_grouped, nms_grouped_padded  # noqa: E402
from spnas_kernels.roi_align_fpn import roi_align_fpn  # noqa: E402

__version__ = "0.1.0"
__all__ = [
    "CopyPlan",
    "Matches",
    "__version__",
    "assign_targets",
    "copy_weights_",
    "match_detections",
    "nms_grouped",
    "nms_grouped_padded",
    "roi_align_fpn",
]
