"""What every neck must keep, as a suite to run over one's own.

With pytest, subclass it in a test file:

    from spnas_detect.testing import NeckContract

    class TestMine(NeckContract):
        factory = Mine
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from spnas_core.encoding import Architecture
from spnas_core.inheritance import Init, fill_
from spnas_core.morphisms import Swap, identity
from spnas_core.networks import FeatureInfo
from spnas_core.networks.features import StageInfo
from spnas_detect.necks import LevelMap, Neck, NeckFactory

CHANNELS = 8
PARENT = Architecture.parse("b@4_11-21-21")
LEVELS = (1, 2, 3, 5)
SIZES = ((13, 40), (6, 21), (4, 9), (2, 5), (1, 3))
"""(height, width) of levels that do not halve exactly, finest first."""


class NeckContract:
    """A neck gives as many levels as it reads, in their sizes, learns all that it has, and says what it inherits.

    Attributes:
        factory: that is tested; a neck's class serves.
    """

    factory: NeckFactory

    def test_levels_have_the_features_names_and_sizes(self) -> None:
        """In their order, with the channels that were asked for, at any number of levels and any sizes."""
        for info, features in _pyramids():
            neck = self._make(info)
            found = {name: tuple(level.shape) for name, level in neck(features).items()}
            expected = {name: (2, CHANNELS, *level.shape[2:]) for name, level in features.items()}
            assert list(found.items()) == list(expected.items()), f"of {len(info.stages)} levels"
            assert neck.out_channels == CHANNELS

    def test_the_features_stay_as_they_are(self) -> None:
        """A detector may read them, too."""
        for info, features in _pyramids():
            before = {name: level.clone() for name, level in features.items()}
            self._make(info)(features)
            assert list(features) == list(before)
            assert all(torch.equal(features[name], level) for name, level in before.items())

    def test_it_is_made_and_run_without_values(self) -> None:
        """On the meta device, where a detector is put together."""
        for info, features in _pyramids():
            with torch.device("meta"):
                neck = type(self).factory(info, CHANNELS)
            assert all(tensor.is_meta for tensor in neck.state_dict().values())
            levels = neck(OrderedDict((name, level.to("meta")) for name, level in features.items()))
            assert [level.shape[2:] for level in levels.values()] == [level.shape[2:] for level in features.values()]

    def test_first_values_are_said_of_every_tensor(self) -> None:
        """They are finite, and let something of every feature through."""
        for info, features in _pyramids():
            neck = self._make(info)
            levels = neck(features)
            for name, level in levels.items():
                assert level.isfinite().all(), name
                assert level.std() > 0, f"level {name} is the same everywhere"

    def test_every_parameter_learns(self) -> None:
        """Each has a gradient, in training, of what all levels give."""
        for info, features in _pyramids():
            neck = self._make(info).train()
            torch.autograd.backward([level.square().mean() for level in neck(features).values()])
            assert [name for name, one in neck.named_parameters() if one.grad is None] == []

    def test_a_child_inherits_from_tensors_that_there_are(self) -> None:
        """Under an unchanged architecture each from itself; under any other, from names that the parent's neck has."""
        for rewrite in (identity(PARENT), *Swap().options(PARENT)):
            parent, child = (
                self._make(_info(code.stage_count)).state_dict() for code in (rewrite.parent, rewrite.child)
            )
            neck, levels = self._make(_info(rewrite.child.stage_count)), LevelMap.of_all_stages(rewrite)
            for name in child:
                sources = list(cast("Neck", neck).source_names(name, levels))
                if not rewrite.steps:
                    assert sources[:1] == [name], f"{name} inherits from {sources}"
                assert all(source in parent for source in sources), f"{name} inherits from {sources}"

    def test_what_reads_the_backbone_is_said(self) -> None:
        """A tensor that reads a level has that level's channels along its second axis."""
        info = _info(len(SIZES))
        neck = self._make(info)
        read = set()
        for name, tensor in neck.state_dict().items():
            level = cast("Neck", neck).reads(name)
            if level is not None:
                assert tensor.dim() > 1, name
                assert tensor.shape[1] == info.channels()[level], f"{name}, of level {level}"
                read.add(level)
        assert read == set(range(len(SIZES))), f"no tensor reads levels {set(range(len(SIZES))) - read}"

    def _make(self, info: FeatureInfo) -> nn.Module:
        """Make a neck with its own first values."""
        neck = type(self).factory(info, CHANNELS)
        generator = torch.Generator().manual_seed(0)
        for name, tensor in neck.state_dict().items():
            init = cast("Neck", neck).initial(name)
            assert isinstance(init, Init), f"{name} starts as {init!r}"
            fill_(tensor, init, generator)
        return neck


def _info(levels: int) -> FeatureInfo:
    return FeatureInfo([StageInfo(f"s{i}", 3 + i, 4 * 2**i) for i in range(1, levels + 1)])


def _pyramids() -> Iterator[tuple[FeatureInfo, "OrderedDict[str, Tensor]"]]:
    generator = torch.Generator().manual_seed(0)
    for levels in LEVELS:
        info = _info(levels)
        features = OrderedDict(
            (stage.name, torch.randn(2, stage.channels, *size, generator=generator))
            for stage, size in zip(info.stages, SIZES, strict=False)
        )
        yield info, features
