"""How much a child's backbone gives other outputs than its parent's, before any training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spnas_core.inheritance import materialise, output_change
from spnas_core.morphisms import Rewrite, identity
from spnas_detect.detectors.building import BACKBONE, detector_maps
from spnas_detect.training import convert_norms
from spnas_detect.training.norms import NormKind


def backbone_change(
    rewrite: Rewrite,
    parent: Mapping[str, Tensor],
    child: nn.Module,
    images: Tensor,
    *,
    norm: NormKind,
    seed: int,
    channels_last: bool,
) -> dict[str, float]:
    """Measure the change of each feature level in evaluation mode; see ``output_change``.

    Args:
        rewrite: from the parent to the child.
        parent: the parent detector's tensors, those of its backbone among them.
        child: the child's backbone; it is left in evaluation mode.
        images: Tensor[N, 3, H, W] on the child's device.
        norm: of both.
        seed: of the child's channel maps.
        channels_last: whether the child is computed in that format; the parent must be, too, or the last bits differ.
    """
    own = {name.removeprefix(BACKBONE): tensor for name, tensor in parent.items() if name.startswith(BACKBONE)}
    before = materialise(identity(rewrite.parent), own, device=images.device)[0]
    convert_norms(before, norm)
    if channels_last:
        before.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return output_change(before.eval(), child.eval(), images, detector_maps(rewrite, seed, parent))
