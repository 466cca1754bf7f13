"""What a child has inherited, in numbers."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from torch import nn

from spnas_core.inheritance.plan import InheritancePlan


@dataclass(frozen=True)
class Receipt:
    """What happened to a child's parameters (running statistics are not counted).

    Attributes:
        copied: parameters taken over unchanged.
        expanded: parameters of tensors whose shape changed, and that took over channels or the part which fits.
        new: parameters that started anew.
        added: modules with new tensors.
        dropped: parent tensors that nothing inherited.
        output_change: relative change ‖child − parent‖ / ‖parent‖ of each comparable feature level before any
            training, in evaluation mode; empty where it was not measured.
        promise: largest change that was promised; None where nothing was, and where nothing was measured.
        broken_promise: what the morphisms promised and the measurement contradicts, in words; empty where it is kept,
            and where nothing was promised or measured.
    """

    copied: int
    expanded: int
    new: int
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    output_change: Mapping[str, float] = field(default_factory=dict)
    promise: float | None = None
    broken_promise: str = ""

    def measured(self, output_change: Mapping[str, float], promise: float | None) -> "Receipt":
        """Return the receipt with a measured change.

        Args:
            output_change: by feature level.
            promise: the rewrite's with the networks' norm: largest change that is allowed; None for any.
        """
        promise = promise if output_change else None

        def change(level: str) -> tuple[bool, float]:  # NaN above all
            return math.isnan(output_change[level]), output_change[level]

        worst = max(output_change, key=change, default=None)
        broken = ""
        if worst is not None and promise is not None and not output_change[worst] <= promise:
            found = output_change[worst]
            broken = f"outputs were to change by at most {promise:g}, and {worst} has changed by {found:.3g}"
        return replace(self, output_change=output_change, promise=promise, broken_promise=broken)

    @property
    def inherited_percent(self) -> float:
        """Share of the child's parameters that come from the parent."""
        return 100 * (self.copied + self.expanded) / max(self.copied + self.expanded + self.new, 1)

    def as_dict(self) -> dict[str, object]:
        """Return plain values, as the archive stores them."""
        return {**asdict(self), "output_change": dict(self.output_change), "inherited_percent": self.inherited_percent}

    def __str__(self) -> str:
        parts = f"{self.copied:,} copied, {self.expanded:,} expanded, {self.new:,} new"
        return f"{self.inherited_percent:.1f} % inherited: {parts}"


def write_receipt(
    module: nn.Module, plan: InheritancePlan, output_change: Mapping[str, float] | None = None
) -> Receipt:
    """Count what a plan did to a module's parameters."""
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    reshaped = {copy.target for copy in plan.copies if copy.is_partial or copy.route is not None}
    copied = sum(sizes.get(copy.target, 0) for copy in plan.copies if copy.target not in reshaped)
    expanded = sum(sizes.get(name, 0) for name in reshaped)
    new = [fill.target for fill in plan.fills if fill.target in sizes and fill.target not in reshaped]
    added = dict.fromkeys(name.rpartition(".")[0] for name in new)
    return Receipt(copied, expanded, sum(sizes[name] for name in new), tuple(added), plan.dropped, output_change or {})
