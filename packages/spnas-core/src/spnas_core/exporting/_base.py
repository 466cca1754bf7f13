"""The contract of an exporter."""

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from spnas_core.commands.wording import counted
from spnas_core.errors import ExportError, PluginError, SpnasError
from spnas_core.plugins import asked, is_built_in, owner, registry

TOLERANCE = 1e-4
"""By how much an exported network's outputs may differ, relative to the largest of each; float32, other kernels."""


def largest_difference(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Compare outputs number by number: the largest difference, relative to the largest magnitude of each output.

    NaN and infinities are equal to themselves, and infinitely far from everything else.
    """
    return max((_difference(here, there) for here, there in zip(expected, found, strict=True)), default=0.0)


def _difference(here: Tensor, there: Tensor) -> float:
    is_finite = here.isfinite() & there.isfinite()
    is_same = (here == there) | (here.isnan() & there.isnan())
    if not (is_finite | is_same).all():
        return math.inf
    here, there = here[is_finite], there[is_finite]
    return float((here - there).abs().max() / here.abs().max().clamp(min=1e-12)) if here.numel() else 0.0


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
        """Compute the outputs of the example.

        Raises:
            ExportError: one of them, or a weight, is not finite, so that nothing could be compared with it.
        """
        with torch.no_grad():
            found: tuple[Tensor, ...] = self.module(self.images)
        for name, tensor in (*self.module.named_parameters(), *zip(self.outputs, found, strict=True)):
            if not tensor.isfinite().all():
                raise ExportError(
                    f"{self.title} has NaN or infinity in {name}: its training has diverged, or its file is damaged"
                )
        return found

    def check(self, found: Sequence[Tensor], what: str) -> float:
        """Compare what an exported network gives for the example.

        Returns:
            The difference, by ``compare``.

        Raises:
            ExportError: it is above ``TOLERANCE``, numbers or shapes of outputs differ, or it gives no tensors.
        """
        expected = self.expected()
        if not isinstance(found, tuple | list) or not all(isinstance(one, Tensor) for one in found):
            raise ExportError(f"{what} gives no tuple of tensors: it must give {', '.join(self.outputs)}")
        if len(found) != len(expected):
            raise ExportError(
                f"{what} gives {counted(len(found), 'output')} and not {len(expected)}: {', '.join(self.outputs)}"
            )
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


def export_network(form: str, network: Exportable, folder: Path, name: str) -> tuple[Path, ...]:
    """Write a network in a registered format, and compare what was written with it.

    Args:
        form: name of the exporter.
        network: to write.
        folder: that exists.
        name: that the files' names begin with.

    Returns:
        The files.

    Raises:
        PluginError: no plugin registers the format, or its exporter raised or returned something else.
        ExportError: it cannot express the network, or what was written computes something else.
    """
    plugin = exporter_plugin(form)
    network.expected()  # where nothing can be compared, nothing is written
    # What is refused after all leaves nothing behind, and what lay there before stays.
    with TemporaryDirectory(dir=folder, prefix=".export-") as made:
        place = Path(made)
        files = [file.resolve().relative_to(place.resolve()) for file in _exported(form, plugin, network, place, name)]
        for entry in place.iterdir():
            if entry.name != "__pycache__":
                _move(entry, folder / entry.name)
    return tuple(folder / file for file in files)


def _exported(
    form: str, plugin: ExporterPlugin, network: Exportable, folder: Path, name: str
) -> tuple[Path, ...] | list[Path]:
    """Have a network written, and hold a plugin's exporter to its contract."""
    if is_built_in("exporters", form):
        return plugin.export(network, folder, name)
    who = owner("exporters", form)
    files: object = asked(who, "export", lambda: plugin.export(network, folder, name), passes=(SpnasError, OSError))
    if not isinstance(files, tuple | list) or not files or not all(_is_written(file, folder) for file in files):
        raise PluginError(
            f"{who} returned {files!r:.200} from export: it must return the files in the folder that it is given"
        )
    return files


def _move(entry: Path, place: Path) -> None:
    """Give a file or folder its place, in which an earlier one may lie."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    elif entry.is_dir():
        place.unlink(missing_ok=True)
    entry.replace(place)


def _is_written(file: object, folder: Path) -> bool:
    return isinstance(file, Path) and file.exists() and folder.resolve() in file.resolve().parents
