"""What a detector's heads read: the levels that backbone, neck and extra levels make of images."""

from torch import Tensor, nn

from spnas_core.backbones import AnyBackbone
from spnas_detect.heads.extra_levels import ExtraLevels


def levels_beyond(detector: nn.Module) -> ExtraLevels | None:
    """Return a detector's extra levels; those of a plugin's own kind belong to its heads."""
    extra = getattr(detector, "extra", None)
    return extra if isinstance(extra, ExtraLevels) else None


def pyramid(
    backbone: AnyBackbone,
    neck: nn.Module,
    images: Tensor,
    extra: ExtraLevels | None = None,
    *,
    every_branch: bool = False,
) -> list[Tensor]:
    """Compute the neck's levels of Tensor[N, 3, H, W], and the extra ones, finest first.

    Args:
        backbone: gives the features.
        neck: makes the levels.
        images: the images.
        extra: makes levels beyond the backbone's.
        every_branch: whether a backbone with branches computes them all, one after the other along the batch.
    """
    features = backbone.spread(images) if every_branch else backbone(images)  # type: ignore[operator]
    if extra is not None and extra.is_merged:
        return list(neck(extra.before(features)).values())
    last = next(reversed(features.values()))  # the neck may add to the dict
    levels = list(neck(features).values())
    return levels if extra is None else [*levels, *extra(levels[-1], last)]
