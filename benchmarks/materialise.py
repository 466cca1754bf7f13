"""A child of a ResNet-50 parent with inherited weights, against torchvision's constructor plus load_state_dict."""

import argparse

import torchvision

import spnas_core
from pairs import HEAD, compare
from spnas_core.morphisms import Expand, Rewrite, Swap

TITLE = "Materialising a child of ResNet-50"


def child_of(architecture: spnas_core.Architecture) -> Rewrite:
    """Swap one border and insert one block."""
    swap = Swap().options(architecture)[3]
    return swap.then(Expand().options(swap.child)[5])


def run(_: argparse.Namespace) -> str:
    """Measure in pairs and return the table."""
    architecture = spnas_core.Architecture.parse("r_111-2111-211111-211")
    parent = spnas_core.build_backbone(architecture).state_dict()
    theirs_state = torchvision.models.resnet50().state_dict()
    rewrite = child_of(architecture)

    def ours() -> None:
        spnas_core.materialise(rewrite, parent)

    def theirs() -> None:
        torchvision.models.resnet50().load_state_dict(theirs_state)

    _, receipt = spnas_core.materialise(rewrite, parent)
    name = f"`{rewrite.child}` ({receipt.inherited_percent:.1f} % inherited) against constructor + `load_state_dict`"
    return f"{HEAD}\n{compare(name, ours, theirs)}"
