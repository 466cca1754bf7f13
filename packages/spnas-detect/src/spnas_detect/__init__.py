"""Object detection for spnas: data, necks, detectors, metrics, training, and the ``detection`` task.

Whatever a command does is one call here: ``spnas_detect.predict`` and ``spnas_detect.evaluate``.
"""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
    from spnas_detect.detectors.loading import load_detector
    from spnas_detect.inference.evaluation import evaluate
    from spnas_detect.inference.prediction import predict

__all__ = ["evaluate", "load_detector", "predict"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "evaluate": "spnas_detect.inference.evaluation",
        "load_detector": "spnas_detect.detectors.loading",
        "predict": "spnas_detect.inference.prediction",
    },
)
