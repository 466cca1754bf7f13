"""What the stages of a backbone give, in the form that timm users expect."""

from collections.abc import Sequence
from dataclasses import dataclass

from spnas_core.errors import CodeError, suggestion


@dataclass(frozen=True)
class StageInfo:
    """One feature level: its name (``s1``, …), channels, and reduction (input pixels per feature pixel)."""

    name: str
    channels: int
    reduction: int


class FeatureInfo:
    """Channels and reductions of the returned stages, finest first."""

    def __init__(self, stages: Sequence[StageInfo]) -> None:
        self.stages = tuple(stages)

    def names(self) -> list[str]:
        """Keys of the feature dict."""
        return [stage.name for stage in self.stages]

    def channels(self) -> list[int]:
        """Channels of each level."""
        return [stage.channels for stage in self.stages]

    def reduction(self) -> list[int]:
        """Input pixels per feature pixel of each level."""
        return [stage.reduction for stage in self.stages]

    def nominal_strides(self) -> list[int]:
        """Strides that sizes of boxes follow: the reduction, and twice the one before where two levels have one.

        Levels at 4, 8, 16, 16, 16 pixels have 4, 8, 16, 32, 64.
        """
        strides: list[int] = []
        for place, stage in enumerate(self.stages):
            before = self.stages[place - 1].reduction
            strides.append(strides[-1] * max(2, stage.reduction // before) if place else stage.reduction)
        return strides

    def chosen(self, names: Sequence[str] | None, network: object) -> "FeatureInfo":
        """Return the stages of these names, finest first; all for None.

        Args:
            names: of stages.
            network: whose stages they are, for the message.

        Raises:
            CodeError: there is no such stage.
        """
        for name in names or ():
            if name not in self.names():
                raise CodeError(f"{network} has no stage {name!r}{suggestion(name, self.names())}")
        return FeatureInfo([stage for stage in self.stages if names is None or stage.name in names])

    def __repr__(self) -> str:
        return f"FeatureInfo({', '.join(f'{s.name}: {s.channels} /{s.reduction}' for s in self.stages)})"
