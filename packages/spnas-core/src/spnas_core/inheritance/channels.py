"""Which parent channel each channel of a child continues, in every stream and layer of a network."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spnas_core.blocks import PROJECTION, ConvLayer
from spnas_core.encoding import Architecture
from spnas_core.inheritance.routes import ChannelMap, Indices, Route
from spnas_core.morphisms import Rewrite
from spnas_core.networks.layout import STEM_STREAM, BlockPlacement, block_placements, stage_placements
from spnas_core.networks.units import Unit, main
from spnas_core.stems import stem_spec

STEM = Unit("stem")

Scores = NDArray[np.float64]
Scales = Callable[[str], Scores | None]
"""γ of a parent's norm by the name of its module; None where it is not known."""

_LayerMaps = dict[str, tuple[ChannelMap | None, ChannelMap | None]]


class ChannelMaps:
    """All channel maps of a rewrite: pure functions of (rewrite, seed), and of the parent's γ where channels go.

    Between two doublings shortcuts carry channels unchanged, so all blocks of such a *stream* share one map, and so
    does the stem where the first block's shortcut carries what it gives. A stream of the child may continue several of
    the parent's, and has a map to each. Where the child has more channels, each is repeated equally often, the copies
    in random order; where it has fewer, those of the largest |γ| stay.

    Args:
        rewrite: parent and child, of one block type.
        seed: of everything random.
        scales: γ of the parent's norms.

    Attributes:
        seed: as given.
    """

    def __init__(self, rewrite: Rewrite, seed: int = 0, scales: Scales = lambda _: None) -> None:
        self._rewrite, self.seed, self._scales = rewrite, seed, scales
        self._children, self._parents = block_placements(rewrite.child), block_placements(rewrite.parent)
        self._streams: dict[tuple[int, int], ChannelMap | None] = {}
        self._layers: dict[tuple[int, int], _LayerMaps] = {}
        self._continued = {(STEM_STREAM, STEM_STREAM)}
        for child, source in zip(self._children, rewrite.block_map, strict=True):
            if source is not None:
                parent = self._parents[source]
                self._continued |= {(child.in_stream, parent.in_stream), (child.out_stream, parent.out_stream)}
        ends = [placements[0] for placements in (self._children, self._parents)]
        self._passes_stem = (ends[0].out_stream, ends[1].out_stream) in self._continued and all(
            one.shortcut == "identity" for one in ends
        )
        self._passed = self._passed_streams()

    def stream(self, child: int, parent: int) -> ChannelMap | None:
        """The map between two streams; None where the child's does not continue the parent's."""
        if self._passes_stem:
            child = self._children[0].out_stream if child == STEM_STREAM else child
            parent = self._parents[0].out_stream if parent == STEM_STREAM else parent
        if (child, parent) not in self._continued:
            return None
        if (child, parent) not in self._streams:
            wanted = stream_channels(self._rewrite.child, child)
            present = stream_channels(self._rewrite.parent, parent)
            scores = partial(self._stream_scores, parent, present)
            self._streams[child, parent] = self._draw(wanted, present, 1, 1, (1, child + 1, parent + 1), scores)
        return self._streams[child, parent]

    def stage_output(self, child: int, parent: int) -> ChannelMap | None:
        """The map between what two stages give, both counted from 0; None where one does not continue the other."""
        ends = [
            stage_placements(code)[stage].blocks[-1].out_stream
            for code, stage in ((self._rewrite.child, child), (self._rewrite.parent, parent))
        ]
        return self.stream(*ends)

    def block_route(self, block: int, source: int, name: str) -> Route | None:
        """Say how a tensor of a block, of the main path or beside it, is made of that of a parent's block.

        Args:
            block: index of the child's block on the main path.
            source: index of the parent's block.
            name: inside the block.

        Returns:
            None for a tensor that no layer describes, and where the layers of the two blocks differ in more than
            channels.
        """
        child, parent = self._children[block], self._parents[source]
        owner, _, leaf = name.rpartition(".")
        for layer, before in zip(child.layers, parent.layers, strict=False):
            if owner not in {layer.module, layer.norm} or layer.name != before.name:
                continue
            inputs, outputs = self._maps_of(child, parent).get(layer.name, (None, None))  # none where layers differ
            if inputs is None or outputs is None:
                return None
            if owner == layer.norm:
                return Route(outputs) if leaf != "num_batches_tracked" else None
            if leaf == "bias" or _follow_their_inputs(layer, before):
                return Route(outputs)
            same = layer.groups == before.groups and layer.kernel == before.kernel
            return Route(outputs, inputs, layer.groups, self._seed_of(name, block)) if same else None
        return None

    def stem_route(self, name: str) -> Route | None:
        """Say how a tensor of the stem is made of that of the parent's.

        Returns:
            None for a tensor that no layer describes, and where the stems differ in more than channels.
        """
        owner, _, leaf = name.rpartition(".")
        child, parent = (stem_spec(code.stem).layers(code.base) for code in (self._rewrite.child, self._rewrite.parent))
        if [(one.name, one.kernel, one.groups) for one in child] != [
            (one.name, one.kernel, one.groups) for one in parent
        ] or child[-1].groups > 1:
            return None
        inputs: ChannelMap | None = None  # of an image
        for place, (layer, old) in enumerate(zip(child, parent, strict=True)):
            if place + 1 == len(child):
                outputs = self.stream(STEM_STREAM, STEM_STREAM)
            else:
                scores = partial(self._stem_scores, old)
                groups = max(layer.groups, child[place + 1].groups)
                outputs = self._draw(layer.out_channels, old.out_channels, groups, 1, (3, place), scores)
            if outputs is None:
                return None
            if owner == layer.norm:
                return Route(outputs) if leaf != "num_batches_tracked" else None
            if owner == layer.module:
                read = None if leaf == "bias" else inputs
                return Route(outputs, read, layer.groups, self._seed_of(name, len(self._children)))
            inputs = outputs
        return None

    def shortcut_route(self, block: int, source: int | None) -> Route | None:
        """Say what a new projection must do: give each output its channel.

        Args:
            block: index of the child's block on the main path.
            source: index of the parent's block; None for a new block, which stands between channels of the parent's.

        Returns:
            None where the parent's block has a projection, and where a new block has the same channels on both sides,
            or others of the parent's in front than behind.
        """
        child = self._children[block]
        ends = self._passed.get(block) if source is None else self._identity_streams(source)
        if ends is None:
            return None
        inputs, outputs = self.stream(child.in_stream, ends[0]), self.stream(child.out_stream, ends[1])
        if inputs is None or outputs is None or inputs.count != outputs.count:
            return None
        return Route(outputs, inputs, 1, self._seed_of(PROJECTION, block))

    def fusion_route(self, stage: int, name: str) -> Route | None:
        """Say how a tensor of a stage's fusions, counted from 1, is made of that of the parent's."""
        child, parent = (stage_placements(code)[stage - 1] for code in (self._rewrite.child, self._rewrite.parent))
        outputs = self.stream(child.blocks[0].in_stream, parent.blocks[0].in_stream)
        inputs = self.stream(child.blocks[-1].out_stream, parent.blocks[-1].out_stream)
        if inputs is None or outputs is None or name.endswith("num_batches_tracked"):
            return None
        return Route(outputs, inputs if name.startswith("conv.") else None, 1, self._seed_of("fusion", stage))

    def _identity_streams(self, source: int) -> tuple[int, int] | None:
        """Streams in front of a parent's block and behind it; None where a projection leads from one to the other."""
        parent = self._parents[source]
        return None if parent.projection is not None else (parent.in_stream, parent.out_stream)

    def _passed_streams(self) -> dict[int, tuple[int, int]]:
        """By each new block that doubles, the parent's stream that it passes on: of the nearest block before it.

        A stream behind it that continues no other of the parent's continues this one.
        """
        found: dict[int, tuple[int, int]] = {}
        last: int | None = STEM_STREAM
        for child, source in zip(self._children, self._rewrite.block_map, strict=True):
            if source is not None:
                last = self._parents[source].out_stream
            elif child.shortcut == "none":
                last = None
            elif last is not None and child.in_stream != child.out_stream:
                found[child.index] = (last, last)
                if all(stream != child.out_stream for stream, _ in self._continued):
                    self._continued.add((child.out_stream, last))
        return found

    def _seed_of(self, name: str, place: int) -> tuple[int, ...]:
        return (self.seed, place, *name.encode())

    def _maps_of(self, child: BlockPlacement, parent: BlockPlacement) -> _LayerMaps:
        """Input and output maps of the layers of a block, by their names; drawn once."""
        pair = child.index, parent.index
        if pair not in self._layers:
            self._layers[pair] = self._draw_layers(child, parent)
        return self._layers[pair]

    def _draw_layers(self, child: BlockPlacement, parent: BlockPlacement) -> _LayerMaps:
        first = self.stream(child.in_stream, parent.in_stream)
        last = self.stream(child.out_stream, parent.out_stream)
        branch, before = child.branch, parent.branch
        found: _LayerMaps = {PROJECTION: (first, last)}
        if [layer.name for layer in branch] != [layer.name for layer in before]:
            return found
        inputs = scaled = first
        for place, (layer, old) in enumerate(zip(branch, before, strict=True)):
            following = branch[place + 1] if place + 1 < len(branch) else None
            if layer.is_pooled and not branch[place - 1].is_pooled:
                scaled = inputs
            if following is None:
                outputs = last
            elif layer.is_pooled and not following.is_pooled:
                outputs = scaled  # the end of a gate: its channels are those that it scales
            elif _follow_their_inputs(layer, old):
                outputs = inputs
            else:
                neighbours = list(zip(branch[place : place + 2], before[place : place + 2], strict=True))
                followers = [_follow_their_inputs(*pair) for pair in neighbours]
                groups = [new.groups for (new, _), follows in zip(neighbours, followers, strict=True) if not follows]
                widths = [new.group_width for (new, _), follows in zip(neighbours, followers, strict=True) if follows]
                scores = partial(self._norm_scores, parent.index, old)
                at = (2, child.index, place)
                outputs = self._draw(
                    layer.out_channels, old.out_channels, max([1, *groups]), max([1, *widths]), at, scores
                )
            found[layer.name] = inputs, outputs
            inputs = outputs
        return found

    def _stream_scores(self, stream: int, channels: int) -> Scores:
        """Sum |γ| of everything that is added to a stream of the parent."""
        total = np.zeros(channels)
        if stream == STEM_STREAM or (self._passes_stem and stream == self._parents[0].out_stream):
            total += self._stem_scores(stem_spec(self._rewrite.parent.stem).layers(self._rewrite.parent.base)[-1])
        for block in self._parents:
            if block.out_stream == stream:
                total += self._norm_scores(block.index, block.branch[-1])
                if block.projection is not None:
                    total += self._norm_scores(block.index, block.projection)
        return total

    def _stem_scores(self, layer: ConvLayer) -> Scores:
        scale = None if layer.norm is None else self._scales(f"{STEM.module}.{layer.norm}")
        return np.zeros(layer.out_channels) if scale is None else np.abs(scale)

    def _norm_scores(self, block: int, layer: ConvLayer) -> Scores:
        scale = None if layer.norm is None else self._scales(f"{main(block).module}.{layer.norm}")
        return np.zeros(layer.out_channels) if scale is None else np.abs(scale)

    def _draw(
        self,
        wanted: int,
        present: int,
        groups: int,
        width: int,
        place: tuple[int, ...],
        scores: Callable[[], Scores],
    ) -> ChannelMap | None:
        """Draw a map; channels stay within their groups, and ``width`` of them in a row stay together.

        None where groups or widths do not divide them.
        """
        if wanted == present:
            return ChannelMap.identity(present)
        if width > 1:
            if wanted % width or present % width:
                return None
            whole = self._draw(
                wanted // width, present // width, groups, 1, place, lambda: scores().reshape(-1, width).sum(1)
            )
            return None if whole is None else whole.repeated(width)
        if wanted % groups or present % groups:
            return None
        size, new_size = present // groups, wanted // groups
        if wanted > present:
            rng = np.random.default_rng((self.seed, *place))
            local = [_repeated(size, new_size, rng) for _ in range(groups)]
        else:
            ranked = np.argsort(-scores().reshape(groups, size), axis=1, kind="stable")
            local = list(np.sort(ranked[:, :new_size], axis=1))
        return ChannelMap(np.concatenate([own + group * size for group, own in enumerate(local)]), present)


def _follow_their_inputs(layer: ConvLayer, before: ConvLayer) -> bool:
    """Whether a layer's outputs must have the map of its inputs: of both, the groups are as wide, and more or fewer.

    So it is where each channel is convolved by itself, and where groups of several are; a group is then copied whole.
    """
    if before.group_width != layer.group_width or max(layer.groups, before.groups) == 1:
        return False
    return all(one.in_channels == one.out_channels for one in (layer, before))


def _repeated(present: int, wanted: int, rng: np.random.Generator) -> Indices:
    """Return all channels in order, and behind them copies, each as often as any other to within one."""
    copies = [rng.permutation(present) for _ in range(-(-wanted // present) - 1)]
    return np.concatenate([np.arange(present), *copies])[:wanted]


def stream_channels(architecture: Architecture, stream: int) -> int:
    """Channels of a stream of an architecture; see ``BlockPlacement``."""
    if stream == STEM_STREAM:
        return architecture.base
    return next(block.out_channels for block in block_placements(architecture) if block.out_stream == stream)


def norm_scales(tensors: Mapping[str, Tensor]) -> Scales:
    """Look γ up in a backbone's tensors, by the name of the norm."""

    def look_up(norm: str) -> Scores | None:
        weight = tensors.get(f"{norm}.weight")
        return None if weight is None else weight.detach().double().cpu().numpy()

    return look_up
