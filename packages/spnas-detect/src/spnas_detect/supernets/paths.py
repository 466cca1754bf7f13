"""Which part of its start a detector computes."""

from typing import cast

import torch
from torch import nn

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.morphisms import Rewrite, identity
from spnas_core.networks import Backbone, FeatureInfo, stage_placements
from spnas_core.space import SearchSpace
from spnas_core.supernets import Parts, Supernet, part_of, share_tensors
from spnas_detect.detectors.building import make_neck
from spnas_detect.detectors.levels import neck_stages, read_stages, stage_names
from spnas_detect.detectors.settings import DetectorSettings
from spnas_detect.necks import LevelMap, Neck, neck_name

KEPT = 256
"""Parts that are kept ready."""
PROBES = 16
"""Parts whose necks are tried before a search begins."""


class Paths:
    """Puts backbone and neck of a part in the place of a detector's own; all tensors stay the detector's.

    A border that moves changes the channels that a stage ends with, and then the neck's lateral of another stage reads
    it: the one that a child of the start inherits.

    Args:
        detector: its backbone is a ``Supernet``. What trains it must have been given its parameters before.
        settings: of its neck and heads.

    Attributes:
        detector: as given.
        whole: its own backbone.
        chosen: all parts that have computed.
    """

    def __init__(self, detector: nn.Module, settings: DetectorSettings) -> None:
        self.detector, self.whole, self._settings = detector, cast("Supernet", detector.backbone), settings
        self._neck = cast("nn.Module", detector.neck)
        self._ready: dict[Architecture, tuple[nn.Module, nn.Module]] = {}
        self.chosen: set[Architecture] = set()

    def choose(self, code: Architecture) -> None:
        """Compute this part from now on.

        Raises:
            CodeError: it is no part of the start.
            ConfigError: the neck has nothing that reads its stages.
        """
        if code not in self._ready:
            if len(self._ready) >= KEPT:
                self._ready.pop(next(iter(self._ready)))
            part = part_of(self.whole.architecture, code)
            backbone = self.whole.path(part)
            self._ready[code] = backbone, path_neck(self._neck, part, backbone.feature_info, self._settings)
        self.chosen.add(code)
        self._put(*self._ready[code])

    def put(self, backbone: nn.Module) -> None:
        """Compute this backbone from now on, whose stages end with the start's channels."""
        self._put(backbone, self._neck)

    def restore(self) -> None:
        """Compute the whole start, with the names of its tensors."""
        self._put(self.whole, self._neck)

    def _put(self, backbone: nn.Module, neck: nn.Module) -> None:
        is_training = self.detector.training
        self.detector.backbone, self.detector.neck = backbone.train(is_training), neck.train(is_training)


def path_neck(neck: nn.Module, part: Rewrite, info: FeatureInfo, settings: DetectorSettings) -> nn.Module:
    """Return the neck of a part, whose tensors are those of the start's.

    Args:
        neck: the start's.
        part: from the start.
        info: what the part's backbone gives.
        settings: of the neck.

    Raises:
        ConfigError: the start's neck has nothing that reads a stage of the part.
    """
    stages = neck_stages(settings, part.child)
    levels, shapes = LevelMap(part, stages, stages), {name: tensor.shape for name, tensor in neck.state_dict().items()}
    with torch.device("meta"):
        view = make_neck(part.child, info, settings)
    own = {name: tensor.shape for name, tensor in view.state_dict().items()}

    def lookup(name: str) -> str | None:
        sources = [source for source in cast("Neck", view).source_names(name, levels) if source in shapes]
        return next((source for source in sources if shapes[source] == own[name]), None)

    if missing := share_tensors(view, neck, lookup):
        name = neck_name(part.parent, settings.neck)
        raise ConfigError(
            f"the neck {name!r} of {part.parent} has no {missing[0]} that fits its part {part.child}: choose "
            "another neck, or a start whose stages end with equal channels"
        )
    return view


def check_paths(settings: DetectorSettings, start: Architecture) -> None:
    """Refuse a detector whose neck would not fit the parts of a start.

    Raises:
        ConfigError: a neck that reads too few stages, or of a kind that cannot be shared; or a start with rows.
    """
    if start.rows:
        raise ConfigError(f"the start {start} has rows, which its parts cannot share: leave them out")
    stages = stage_placements(start)
    read = read_stages(settings.levels, start)
    ends = [stage.blocks[-1].out_stream for stage in stages]
    unread = [f"s{place + 1}" for place, end in enumerate(ends) if end not in {ends[one] for one in read}]
    if unread:
        raise ConfigError(
            f"detector.levels leave out {', '.join(unread)} of {start}, whose channels a stage of one of its parts may "
            "end with: parts that share weights need all levels"
        )
    if settings.extra_levels == "stage-conv" and read[-1] + 1 < len(stages):
        raise ConfigError(
            "detector.extra_levels 'stage-conv' reads a stage that is not the last one, whose channels differ from "
            "part to part: choose 'conv', or read the last stage"
        )
    names = stage_names(read)
    with torch.device("meta"):
        neck = make_neck(start, Backbone(start, names).feature_info, settings)
    parts = Parts(start, SearchSpace(min_blocks=1, max_blocks=10**6, min_stages=1, max_stages=10**6))
    for step in range(PROBES):
        part = part_of(start, parts.at_step(0, step))
        path_neck(neck, part, Backbone(part.child, names).feature_info, settings)
    path_neck(neck, identity(start), Backbone(start, names).feature_info, settings)
