"""Spaces against each other: distributions of scores of codes drawn from each.

Radosavovic et al., "On Network Design Spaces for Visual Recognition", ICCV 2019.
"""
