"""Heads that treat a whole batch at once: padded tensors with masks, no loop over images, no wait for the device.

A detector is made of these parts: anchors and proposals are matched with objects (``assignment``), drawn into samples
of fixed size (``sampling``), pooled (``pooling``), and scored boxes are chosen (``selection``); the loss of a proposal
network is computed at its sample alone (``revisit``). Matching, pooling and suppression run in ``spnas_kernels``.
"""

from typing import TYPE_CHECKING

from spnas_core.lazily import lazy_attributes

if TYPE_CHECKING:
    from spnas_detect.heads.anchors import Anchors
    from spnas_detect.heads.assignment import Assignment, Rule, assign
    from spnas_detect.heads.dense import DenseHead
    from spnas_detect.heads.detections import Detections
    from spnas_detect.heads.pooling import PyramidPooler
    from spnas_detect.heads.proposals import ProposalNetwork, Proposals
    from spnas_detect.heads.regions import RegionHead, Regions, assign_regions, detect_regions, sample_regions
    from spnas_detect.heads.sampling import Sample, sample
    from spnas_detect.heads.selection import select_detections, suppress

__all__ = [
    "Anchors",
    "Assignment",
    "DenseHead",
    "Detections",
    "ProposalNetwork",
    "Proposals",
    "PyramidPooler",
    "RegionHead",
    "Regions",
    "Rule",
    "Sample",
    "assign",
    "assign_regions",
    "detect_regions",
    "sample",
    "sample_regions",
    "select_detections",
    "suppress",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Anchors": "spnas_detect.heads.anchors",
        "Assignment": "spnas_detect.heads.assignment",
        "DenseHead": "spnas_detect.heads.dense",
        "Detections": "spnas_detect.heads.detections",
        "ProposalNetwork": "spnas_detect.heads.proposals",
        "Proposals": "spnas_detect.heads.proposals",
        "PyramidPooler": "spnas_detect.heads.pooling",
        "RegionHead": "spnas_detect.heads.regions",
        "Regions": "spnas_detect.heads.regions",
        "Rule": "spnas_detect.heads.assignment",
        "Sample": "spnas_detect.heads.sampling",
        "assign": "spnas_detect.heads.assignment",
        "assign_regions": "spnas_detect.heads.regions",
        "detect_regions": "spnas_detect.heads.regions",
        "sample": "spnas_detect.heads.sampling",
        "sample_regions": "spnas_detect.heads.regions",
        "select_detections": "spnas_detect.heads.selection",
        "suppress": "spnas_detect.heads.selection",
    },
)
