"""What every exporter must keep, as a suite to run over one's own.

With pytest, subclass it in a test file and name what is tested:

    from spnas_core.testing import ExporterContract

    class TestMine(ExporterContract):
        plugin = ExporterPlugin("what it writes", export)
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from spnas_core.encoding import Architecture
from spnas_core.errors import ExportError
from spnas_core.exporting import Exportable, ExporterPlugin, exportable_backbone
from spnas_core.networks import build_backbone

IMAGE_SIZE = (70, 50)
"""(width, height) in pixels, of which no level is an exact share."""


class ExporterContract:
    """An exporter writes what it returns, and nothing else, and finds out where that computes something else.

    A network of several images may be refused, by an ``ExportError``; what is written may be files or folders.

    Attributes:
        plugin: that is tested.
        code: of the network that is written.
    """

    plugin: ExporterPlugin
    code = "b@4_1-2"

    def test_it_writes_the_files_that_it_returns(self) -> None:
        """They lie in the folder, under names that begin with the given one; of one image and of several."""
        for batch in (1, 3):
            with TemporaryDirectory() as folder:
                try:
                    files = self.plugin.export(self._network(batch), Path(folder), "network")
                except ExportError:
                    if batch > 1:
                        continue
                    raise
                assert isinstance(files, tuple), f"{files!r} is no tuple of paths"
                assert files, "no file is returned"
                assert {Path(folder, file) for file in files} == _written(folder)
                assert all(file.name.startswith("network") for file in files), files

    def test_other_files_stay(self) -> None:
        """Networks of several names share a folder, and one is written over."""
        with TemporaryDirectory() as folder:
            first = {file: _content(file) for file in self.plugin.export(self._network(), Path(folder), "one")}
            other = self.plugin.export(self._network(), Path(folder), "other.v2")
            assert not set(first) & set(other), "a name overwrites the files of another one"
            assert all(_content(file) == content for file, content in first.items())
            assert self.plugin.export(self._network(), Path(folder), "one") == tuple(first)

    def test_it_compares_what_it_has_written(self) -> None:
        """It calls the network's ``check``, by which what differs too much is an ``ExportError``."""
        seen = []

        def differs(expected: Sequence[Tensor], found: Sequence[Tensor]) -> float:
            seen.append([tuple(one.shape) for one in found] == [tuple(one.shape) for one in expected])
            return math.inf

        with TemporaryDirectory() as folder:
            try:
                self.plugin.export(replace(self._network(), compare=differs), Path(folder), "network")
            except ExportError:
                assert seen == [True], "check has not been called with the outputs of what was written"
                return
        raise AssertionError("outputs that differ pass")

    def test_the_network_stays_as_it_is(self) -> None:
        """Its values, its mode, and what it computes."""
        network = self._network()
        before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
        expected = network.expected()
        with TemporaryDirectory() as folder:
            self.plugin.export(network, Path(folder), "network")
        after = network.module.state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
        assert not network.module.training, "it was left in training mode"
        assert all(torch.equal(one, other) for one, other in zip(network.expected(), expected, strict=True))

    def check_network(self) -> None:
        """Find out whether the format has a word for the network at all.

        Raises:
            ExportError: it has none.
        """
        with TemporaryDirectory() as folder:
            self.plugin.export(self._network(), Path(folder), "network")

    def _network(self, batch: int = 1) -> Exportable:
        """A backbone whose norms change what they get."""
        backbone = build_backbone(Architecture.parse(self.code), generator=torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(1)
        for name, buffer in backbone.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
        return exportable_backbone(backbone, IMAGE_SIZE, batch)


def _written(folder: str) -> set[Path]:
    """What stands in a folder, but for what Python leaves there when it imports a file."""
    return {path for path in Path(folder).iterdir() if path.name != "__pycache__"}


def _content(path: Path) -> list[tuple[str, bytes]]:
    """The bytes of a file, or of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(file.name, file.read_bytes()) for file in files if file.is_file()]
