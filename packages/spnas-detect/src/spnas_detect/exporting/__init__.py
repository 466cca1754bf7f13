"""Whole detectors for other frameworks, in operators that every one of them has."""

from spnas_detect.exporting.detectors import exportable_detector, noise, photograph

__all__ = ["exportable_detector", "noise", "photograph"]
