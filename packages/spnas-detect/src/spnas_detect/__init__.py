"""Object detection for spnas: data, necks, detectors, metrics, training, and the ``detection`` task.

Whatever a command does is one call here: ``spnas_detect.predict`` and ``spnas_detect.evaluate``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spnas_detect.detectors.loading import load_detector
    from spnas_detect.inference.evaluation import evaluate
    from spnas_detect.inference.prediction import predict

__all__ = ["evaluate", "load_detector", "predict"]

_MODULES = {
    "evaluate": "spnas_detect.inference.evaluation",
    "load_detector": "spnas_detect.detectors.loading",
    "predict": "spnas_detect.inference.prediction",
}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for: the commands that need none of it stay quick."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
