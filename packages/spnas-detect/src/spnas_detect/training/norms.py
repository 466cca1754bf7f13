"""Which norm a detector trains with: what stands in for batch norm, under the same tensor names.

A detector is always built with batch norm and converted afterwards, so that weights trained with any norm inherit to
any other: γ and β go along, running statistics where both sides have them.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, distributed, nn

from spnas_core.errors import ConfigError, EvaluationError
from spnas_core.networks import Statistics

NormKind = Literal["batch", "sync", "group", "frozen"]

_ONE_VALUE = "Expected more than 1 value per channel"
"""How torch begins to say that a batch norm in training has nothing to take a deviation of."""

MOST_GROUPS = 32
"""Groups of a group norm where the channels allow; Wu & He, "Group Normalization"."""

FEWEST_GROUP_CHANNELS = 2

FEW_IMAGES = 16
"""At a time, below which batch norm errs more and more; Wu & He, "Group Normalization", figure 1."""


@contextmanager
def explained_norms(shape: Sequence[int]) -> Iterator[None]:
    """Say in one line that a batch norm has seen a single value per channel inside, and what to do.

    Args:
        shape: (N, C, H, W) of the images.

    Raises:
        EvaluationError: in the place of torch's error.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE):
            raise
        count, _, height, width = shape
        raise EvaluationError(
            f"{count} image(s) of {width}x{height} at a time leave a batch norm one value per channel, which has no "
            'deviation: raise training.batch_size, lower training.accumulate, set training.norm = "group", or take a '
            "larger --image-size"
        ) from error


class FrozenNorm(nn.BatchNorm2d):
    """Batch norm that stays as it is: neither its statistics nor γ and β are trained."""

    def train(self, mode: bool = True) -> "FrozenNorm":
        """Stay in evaluation mode."""
        return super().train(False)


class SyncNorm(nn.BatchNorm2d):
    """Batch norm with the statistics of all processes' images, on CPU too (torch's own wants a GPU)."""

    process_group = None  # as torch's own, whose forward pass is used on GPUs, asks for it
    _check_non_zero_input_channels = nn.SyncBatchNorm._check_non_zero_input_channels  # noqa: SLF001

    def forward(self, x: Tensor) -> Tensor:
        """Normalise Tensor[N, C, H, W]; in training all processes must have as many images."""
        processes = distributed.get_world_size() if distributed.is_initialized() else 1
        if not self.training:
            return super().forward(x)
        if processes > 1 and x.is_cuda:
            normalised: Tensor = nn.SyncBatchNorm.forward(self, x)  # type: ignore[arg-type]
            return normalised
        return self._trained(x, processes)

    def _trained(self, x: Tensor, processes: int) -> Tensor:
        """Normalise in float32 at least, whatever the images are in, as torch's own does."""
        values = x.numel() // x.shape[1] * processes
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = mean_over_processes(wide.mean((0, 2, 3)))
        centred = wide - mean[:, None, None]
        variance = mean_over_processes(centred.square().mean((0, 2, 3)))
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked += 1
                momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * (values / max(values - 1, 1)), momentum)
        normalised = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normalised = normalised * self.weight[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)


class _MeanOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(_: object, tensor: Tensor) -> Tensor:
        return _mean(tensor)

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        return _mean(gradient)


def mean_over_processes(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes; its gradient is the mean of theirs."""
    mean: Tensor = _MeanOverProcesses.apply(tensor)  # type: ignore[no-untyped-call]
    return mean


def _mean(tensor: Tensor) -> Tensor:
    total = tensor.clone()
    if distributed.is_initialized():
        distributed.all_reduce(total)
        total.div_(distributed.get_world_size())
    return total


def group_count(channels: int) -> int:
    """Return the groups of a group norm: the most up to 32 that divide the channels and have two each, else one."""
    most = min(MOST_GROUPS, channels // FEWEST_GROUP_CHANNELS)
    return next((groups for groups in range(most, 1, -1) if channels % groups == 0), 1)


def _frozen(norm: nn.BatchNorm2d) -> nn.Module:
    with torch.device("meta"):
        frozen = FrozenNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    _take_over(frozen, norm)
    frozen.requires_grad_(False)
    return frozen.eval()


def _sync(norm: nn.BatchNorm2d) -> nn.Module:
    with torch.device("meta"):
        sync = SyncNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    _take_over(sync, norm)
    return sync.train(norm.training)


def _group(norm: nn.BatchNorm2d) -> nn.Module:
    with torch.device("meta"):
        group = nn.GroupNorm(group_count(norm.num_features), norm.num_features, norm.eps, norm.affine)
    _take_over(group, norm)
    return group.train(norm.training)


def _take_over(new: nn.Module, old: nn.Module) -> None:
    """Let a layer use another one's very tensors, as far as it has such."""
    for name, parameter in old.named_parameters(recurse=False):
        if name in dict(new.named_parameters(recurse=False)):
            setattr(new, name, parameter)
    for name, buffer in old.named_buffers(recurse=False):
        if name in dict(new.named_buffers(recurse=False)):
            setattr(new, name, buffer)


CONVERSIONS: dict[str, Callable[[nn.BatchNorm2d], nn.Module]] = {"sync": _sync, "group": _group, "frozen": _frozen}


def sees_batches(module: nn.Module) -> bool:
    """Whether some norm's outputs depend, in training, on which images this very process has at a time."""
    return any(
        isinstance(layer, nn.BatchNorm2d) and not isinstance(layer, FrozenNorm | SyncNorm) for layer in module.modules()
    )


def is_affine(norm: NormKind) -> bool:
    """Whether in evaluation mode a norm scales and shifts each channel, whatever the others and the image are."""
    return norm != "group"


def check_convertible(norm: nn.BatchNorm2d, kind: str) -> None:
    """Refuse a layer that does more than to normalise, such as timm's norms with an activation in them.

    Raises:
        ConfigError: its type, and what to do.
    """
    if type(norm).forward not in {nn.BatchNorm2d.forward, FrozenNorm.forward, SyncNorm.forward}:
        raise ConfigError(
            f"training.norm is {kind!r}, and the backbone has a {type(norm).__name__}, which does more than to "
            "normalise: set it to 'batch'"
        )


def convert_norms(module: nn.Module, norm: NormKind, *, frozen: Collection[str] | None = None) -> nn.Module:
    """Replace every batch norm inside a module; what has no batch norm, such as a head of its own, stays.

    Rows that share weights have running statistics of their own with ``batch`` and ``sync`` only.

    Args:
        module: changed in place; on any device.
        norm: ``batch`` leaves everything; ``sync`` shares statistics among processes; ``group`` has none at all, and
            its running statistics go; ``frozen`` trains neither statistics nor γ and β.
        frozen: names of the norms that are frozen, with any kind but ``group``; all others are batch norm where the
            kind is ``frozen``. None freezes all with ``frozen``, and none otherwise.

    Returns:
        The module.

    Raises:
        ConfigError: a layer cannot be replaced; see ``check_convertible``.
    """
    if norm == "batch" and not frozen:
        return module
    for path, owner in list(module.named_modules()):
        for name, child in list(owner.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                kind = _kind_of(f"{path}.{name}" if path else name, norm, frozen)
                if kind != "batch":
                    check_convertible(child, kind)
                    setattr(owner, name, CONVERSIONS[kind](child))
            elif isinstance(child, Statistics) and norm not in {"batch", "sync"}:
                setattr(owner, name, Statistics(nn.Identity()))
    return module


def _kind_of(name: str, norm: NormKind, frozen: Collection[str] | None) -> NormKind:
    """What one batch norm becomes."""
    if frozen is None or norm == "group":
        return norm
    if name in frozen:
        return "frozen"
    return "batch" if norm == "frozen" else norm
