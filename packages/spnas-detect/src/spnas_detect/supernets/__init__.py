"""Detectors whose parts share weights: choosing the part that computes, and statistics of its own for its norms."""

from spnas_detect.supernets.paths import Paths, check_paths
from spnas_detect.supernets.recalibration import recalibrate

__all__ = ["Paths", "check_paths", "recalibrate"]
