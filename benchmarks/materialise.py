"""A child of a ResNet-50 parent with inherited weights, against torchvision's constructor plus load_state_dict."""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torchvision

import spnas_core
from spnas_core.morphisms import Expand, Rewrite, Swap

TITLE = "Materialising a child of ResNet-50"
REPEATS = 15


def seconds(call: Callable[[], object]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


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

    ours()
    theirs()
    pairs = [(seconds(theirs), seconds(ours)) for _ in range(REPEATS)]
    ratios = np.array([peer / own for peer, own in pairs])
    _, receipt = spnas_core.materialise(rewrite, parent)
    return (
        "| | median | spread (10–90 %) |\n|---|---|---|\n"
        f"| torchvision: constructor + `load_state_dict` | {median(p for p, _ in pairs) * 1e3:.0f} ms | |\n"
        f"| `materialise` of `{rewrite.child}` ({receipt.inherited_percent:.1f} % inherited) "
        f"| {median(o for _, o in pairs) * 1e3:.0f} ms | |\n"
        f"| ratio, pair by pair | **{np.median(ratios):.1f}×** "
        f"| {np.quantile(ratios, 0.1):.1f}–{np.quantile(ratios, 0.9):.1f}× |"
    )
