"""Detectors whose parts share weights: choosing the part that computes, and statistics of its own for its norms."""

from spnas_detect.supernets.paths import Paths, check_paths
from spnas_detect.supernets.recalibration import recalibrate
from spnas_detect.supernets.training import SharedWeights, halves_images, shared_weights

__all__ = ["Paths", "SharedWeights", "check_paths", "halves_images", "recalibrate", "shared_weights"]
