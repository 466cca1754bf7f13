"""Weights that a search or a training starts from, in the names of a detector. Needs ``spnas-core[commands]``."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spnas_core.backbones import (
    AnyNetwork,
    CompositeNetwork,
    FixedNetwork,
    Unchanged,
    blank_network,
    read_network,
    unchanged,
    without_neck,
)
from spnas_core.backbones.composite import in_every_copy
from spnas_core.backbones.network import Composition
from spnas_core.encoding import Architecture
from spnas_core.errors import MALFORMED, CodeError, WeightsError
from spnas_core.interchange.differences import differing_tensors, told
from spnas_core.interchange.torchvision import from_torchvision, torchvision_architecture
from spnas_core.interchange.torchvision_detectors import from_torchvision_detector, is_detector, without_eps
from spnas_core.morphisms import Rewrite, align

BACKBONE = "backbone."

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Of batch norm: weights that were trained with another norm lack them, and they start anew."""


DESCRIPTION = "spnas"
"""Entry of a safetensors file's metadata that says what it holds: JSON with ``architecture`` among its keys."""

TORCHVISION, TORCHVISION_BACKBONE = "torchvision", "torchvision-backbone"

TRAINED_WITHOUT_EPS = {
    "258fb6c6": "fasterrcnn_resnet50_fpn_coco",
    "eeacb38b": "retinanet_resnet50_fpn_coco",
    "bf2d0c1e": "maskrcnn_resnet50_fpn_coco",
    "fc266e95": "keypointrcnn_resnet50_fpn_coco",
}
"""First digits of the SHA-256 of published files whose norms add nothing to the variance (torchvision sets their
``eps`` to 0 when it loads them), as the files' names have them."""


@dataclass(frozen=True)
class InitialWeights:
    """Weights from outside.

    Attributes:
        architecture: that they are of.
        tensors: named as a detector's: ``backbone.…`` and, where the file has more, all else.
        said: what else the file says of them, as plain values: for a task that knows what to make of it. A detector of
            torchvision says ``source``, ``classes`` (of the labels 1, 2, …; empty for one without a name), ``stages``
            (from 0) that its neck reads, and what of it was ``left_out``.
    """

    architecture: AnyNetwork
    tensors: dict[str, Tensor]
    said: Mapping[str, Any] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file that says the same of itself."""
        return {DESCRIPTION: json.dumps({**self.said, "architecture": str(self.architecture)}, sort_keys=True)}

    def rewrite(self, child: AnyNetwork) -> Rewrite | Unchanged:
        """What an architecture inherits from them: see ``align``; a network that is no code continues itself alone.

        Raises:
            WeightsError: its block type or stem differs, or one of the two is no code.
        """
        if not isinstance(self.architecture, Architecture) or not isinstance(child, Architecture):
            if without_neck(self.architecture) != without_neck(child):
                raise WeightsError(f"the weights to start from are of {self.architecture}: {child} cannot continue it")
            return unchanged(child)
        try:
            return align(self.architecture, child)
        except CodeError as error:
            raise WeightsError(f"the weights to start from are of {self.architecture}: {error}") from None


def read_initial_weights(source: str, architecture: AnyNetwork) -> InitialWeights:
    """Read weights from outside, of an architecture or of one near it.

    Args:
        source: ``torchvision:FILE`` (a ``state_dict``, saved by torch or safetensors: of a ResNet or ResNeXt, or of a
            Faster R-CNN or RetinaNet with FPN on one), ``torchvision-backbone:FILE`` (the same, its backbone alone),
            ``FILE.safetensors`` (a detector's weights or a backbone's alone), or, for a network that is no code,
            ``PROVIDER:FILE`` (the whole network's as its library saves it).
        architecture: that is to start with them. Which one the file is of is told by its tensors (torchvision) or by
            what it says of itself; where it says nothing it must be this one.

    Raises:
        WeightsError: the file cannot be read, is not what it says, or its network has another block type or stem.
    """
    kind, colon, path = source.partition(":")
    is_foreign = False
    if isinstance(architecture, Composition):
        return _for_composition(source, architecture)
    if isinstance(architecture, FixedNetwork) and colon and kind == architecture.provider:
        found = _from_provider(source, Path(path), architecture)
    elif isinstance(architecture, FixedNetwork) and not source.endswith(".safetensors"):
        raise WeightsError(f"init {source!r} must be {architecture.provider}:FILE or FILE.safetensors")
    elif colon and kind in {TORCHVISION, TORCHVISION_BACKBONE}:
        found, is_foreign = _from_torchvision(source, Path(path)), True
    elif source.endswith(".safetensors"):
        tensors, own, said = _read_safetensors(Path(source))
        if not any(name.startswith(BACKBONE) for name in tensors):
            tensors = {BACKBONE + name: tensor for name, tensor in tensors.items()}
        found = InitialWeights(own or architecture, tensors, said)
        is_foreign = own is None
    else:
        raise WeightsError(f"init {source!r} must be torchvision:FILE, torchvision-backbone:FILE or FILE.safetensors")
    _check_fits(source, found.architecture, found.tensors, is_foreign=is_foreign)
    found.rewrite(architecture)
    return found


def _for_composition(source: str, network: Composition) -> InitialWeights:
    """Read the weights of a composition, or of the code that it is made of.

    Raises:
        WeightsError: they are of something else.
    """
    if source.endswith(".safetensors") and source.partition(":")[0] not in {TORCHVISION, TORCHVISION_BACKBONE}:
        tensors, own, said = _read_safetensors(Path(source))
        if own is not None and without_neck(own) == without_neck(network):
            _check_fits(source, network, tensors)
            return InitialWeights(network, tensors, said)
        if isinstance(own, Composition):
            raise WeightsError(f"{source} is of {own}: {network} continues {network.inner}, or itself")
    inner = read_initial_weights(source, network.inner)
    if without_neck(inner.architecture) != network.inner:
        raise WeightsError(f"{source} is of {inner.architecture}: {network} continues {network.inner}, or itself")
    if isinstance(network, CompositeNetwork):
        return InitialWeights(network, in_every_copy(network, inner.tensors, BACKBONE), inner.said)
    return InitialWeights(network, inner.tensors, inner.said)


def _from_provider(source: str, path: Path, network: FixedNetwork) -> InitialWeights:
    """Read the whole network's weights as its library saves them."""
    read = network.source.read
    if read is None:
        raise WeightsError(f"{network.provider} cannot read weights: start with FILE.safetensors, or fresh ones")
    state = _read_state(source, path)
    try:
        tensors = read(network.name, state)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    return InitialWeights(network, {BACKBONE + name: tensor for name, tensor in tensors.items()})


def _from_torchvision(source: str, path: Path) -> InitialWeights:
    state = _read_state(source, path)
    if not is_detector(state):
        own = torchvision_architecture({name: state[name] for name in state if not name.startswith("fc.")})
        return InitialWeights(own, {BACKBONE + name: tensor for name, tensor in from_torchvision(own, state).items()})
    try:
        detector = from_torchvision_detector(state)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None
    tensors = detector.tensors
    if _digest(path)[:8] in TRAINED_WITHOUT_EPS:
        tensors = without_eps(tensors)
    if source.startswith(f"{TORCHVISION_BACKBONE}:"):
        return InitialWeights(
            detector.architecture, {name: tensors[name] for name in tensors if name.startswith(BACKBONE)}
        )
    said = {
        "source": source,
        "classes": list(detector.classes),
        "stages": list(detector.stages),
        "left_out": list(detector.left_out),
    }
    return InitialWeights(detector.architecture, tensors, said)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_state(source: str, path: Path) -> dict[str, Tensor]:
    """Read what another library has saved."""
    if path.suffix != ".safetensors":
        return _read_torch(path)
    tensors, own, _ = _read_safetensors(path)
    if own is not None:
        raise WeightsError(f"{source} is of spnas itself, of {own}: name the file alone, {path}")
    return tensors


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        reason = reason if " " in reason else f"{type(error).__name__} {reason}".rstrip()
        raise WeightsError(f"{path} is no state_dict that loads without executing code: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state_dict: save model.state_dict() with torch.save")
    for name, tensor in state.items():
        is_plain = tensor.layout is torch.strided and not tensor.is_complex() and not tensor.is_meta
        if not isinstance(name, str) or not is_plain:
            raise WeightsError(
                f"{path} has {name!r}, which is no dense tensor of numbers under a name: save them as such"
            )
    return state


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], AnyNetwork | None, dict[str, Any]]:
    """Read the tensors, the architecture that the file says it is of, and what else it says."""
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
            text = (file.metadata() or {}).get(DESCRIPTION)
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no complete safetensors file: {error}") from error
    try:
        if text is None:
            return tensors, None, {}
        said = dict(json.loads(text))
        return tensors, read_network(str(said.pop("architecture"))), said
    except MALFORMED as error:  # a CodeError is a ValueError
        raise WeightsError(f"what {path} says of itself cannot be read: {error}") from error


def _check_fits(source: str, architecture: AnyNetwork, tensors: dict[str, Tensor], *, is_foreign: bool = False) -> None:
    """Refuse the tensors of another network.

    Args:
        source: as it was given.
        architecture: that they are to be of.
        tensors: named as a detector's.
        is_foreign: whether the file does not say what it is of: then it is of another network where it has more, such
            as gates. One that says so may have the parts of a supernet that its code does not.
    """
    named = {name.removeprefix(BACKBONE): tensor for name, tensor in tensors.items() if name.startswith(BACKBONE)}
    expected = {
        name: tensor
        for name, tensor in blank_network(architecture).state_dict().items()
        if name in named or not name.endswith(STATISTICS)
    }
    found = {
        name: tensor
        for name, tensor in named.items()
        if name in expected or (is_foreign and not name.endswith(STATISTICS))
    }
    if differing := differing_tensors(expected, found, "network"):
        raise WeightsError(f"{source} does not fit {architecture}: {told(differing)}")
