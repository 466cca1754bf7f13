"""The contract of an exporter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from spnas_core.errors import ExportError
from spnas_core.plugins import registry

TOLERANCE = 1e-4
"""By how much an exported network's outputs may differ, relative to the largest of each; float32, other kernels."""


def largest_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Compare outputs number by number: the largest difference, relative to the largest magnitude of each output."""
    worst = 0.0
    for here, there in zip(expected, found, strict=True):
        if here.numel():
            worst = max(worst, float((here - there).abs().max() / here.abs().max().clamp(min=1e-12)))
    return worst


@dataclass(frozen=True, eq=False)
class Exportable:
    """A network and what it takes and gives.

    Attributes:
        module: in evaluation mode, on the CPU; maps ``images`` to a tuple of tensors.
        images: an example, float32[N, 3, H, W], normalised.
        outputs: names of what it gives, in order.
        title: what it is, for the head of a file.
        facts: what else whoever loads it should know, as plain values.
        compare: how far what an exported network gives is from what the module gives; called with both.
    """

    module: nn.Module
    images: Tensor
    outputs: tuple[str, ...]
    title: str
    facts: Mapping[str, object] = field(default_factory=dict)
    compare: Callable[[Sequence[Tensor], Sequence[Tensor]], float] = largest_difference

    def expected(self) -> tuple[Tensor, ...]:
        """Compute the outputs of the example."""
        with torch.no_grad():
            found: tuple[Tensor, ...] = self.module(self.images)
        return found

    def check(self, found: tuple[Tensor, ...], what: str) -> float:
        """Compare what an exported network gives for the example.

        Returns:
            The difference, by ``compare``.

        Raises:
            ExportError: it is above ``TOLERANCE``, or shapes differ.
        """
        expected = self.expected()
        found = tuple(one.detach() for one in found)
        for name, here, there in zip(self.outputs, expected, found, strict=True):
            if here.shape != there.shape:
                raise ExportError(f"{what} gives {name} of {tuple(there.shape)} and not {tuple(here.shape)}")
        worst = self.compare(expected, found)
        if not worst <= TOLERANCE:
            raise ExportError(f"the outputs of {what} differ by {worst:.1e}, more than {TOLERANCE:g}")
        return worst


@dataclass(frozen=True)
class ExporterPlugin:
    """An exporter as the plugins register it.

    Attributes:
        summary: one line for listings.
        export: writes a network into a folder that exists, under names that begin with the given one, loads it again
            and compares; called as ``export(network, folder, name)``, it returns the files that it has written. What it
            cannot express is an ``ExportError`` that names it.
    """

    summary: str
    export: Callable[[Exportable, Path, str], tuple[Path, ...]]


def exporter_plugin(name: str) -> ExporterPlugin:
    """Look up a registered exporter.

    Raises:
        PluginError: no plugin registers the name.
    """
    plugin: ExporterPlugin = registry("exporters").get(name)
    return plugin
