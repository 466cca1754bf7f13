"""The tables of ``run.toml`` that belong to the search; strategy and task bring their own models.

The defaults are the demonstration: a search on generated shapes of a few minutes on two cores.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.space import SearchSpace


def _check_ratio(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?x", text) or float(text[:-1]) == 0:
        raise ValueError("a multiple of the start's cost looks like '1.5x'")
    return text


Bound = Annotated[int, Field(ge=1)]
Ratio = Annotated[str, AfterValidator(_check_ratio)]
Limit = Bound | Literal["none"] | Ratio


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BudgetSettings(_Table):
    """When the search ends.

    Attributes:
        candidates: children to evaluate.
        hours: wall-clock time of evaluation after which no further round begins; None for no bound.
    """

    candidates: int = Field(16, ge=0)
    hours: float | None = Field(None, gt=0)


class FinalSettings(_Table):
    """The comparison on test images that ends a search.

    Attributes:
        epochs: that winner and start are trained on, after the start has been brought to the winner's age.
        seeds: repetitions of that last training, for the spread; 0 leaves the comparison out.
    """

    epochs: int = Field(3, ge=0)
    seeds: int = Field(3, ge=0)


class SpaceSettings(_Table):
    """Bounds of the search; see ``spnas_core.space.SearchSpace``.

    Attributes:
        min_blocks: fewest residual blocks.
        max_blocks: most residual blocks.
        min_stages: fewest stages.
        max_stages: most stages.
        max_rows: most parallel rows beside a stage.
        block_types: allowed block types; empty for all.
        max_parameters: of the backbone: a number, a multiple of the start's such as ``"1.5x"``, or ``"none"``.
        max_multiply_adds: the same for multiply-adds at the task's image size.
        max_activation_bytes: the same for activation memory.
    """

    min_blocks: int = Field(4, ge=1)
    max_blocks: int = Field(60, ge=1)
    min_stages: int = Field(4, ge=1)
    max_stages: int = Field(7, ge=1)
    max_rows: int = Field(3, ge=0)
    block_types: tuple[str, ...] = ()
    max_parameters: Limit = "none"
    max_multiply_adds: Limit = "1.5x"
    max_activation_bytes: Limit = "none"

    def build(self, start: Architecture, image_size: tuple[int, int]) -> SearchSpace:
        """Turn multiples of the start's cost into numbers.

        Raises:
            SpaceError: a lower bound above its upper bound.
        """
        values = self.model_dump()
        cost = backbone_cost(start, *image_size).as_dict()
        for name in cost:
            bound = values[f"max_{name}"]
            if bound == "none":
                values[f"max_{name}"] = None
            elif isinstance(bound, str):
                values[f"max_{name}"] = int(float(bound.removesuffix("x")) * cost[name])
        return SearchSpace(image_size=image_size, **values)


class ExecutorSettings(_Table):
    """Where evaluations run.

    Attributes:
        name: a registered executor.
        workers: evaluations at a time, at most ``cores``; ``auto`` is what the executor can do up to one per CUDA
            device, else one per CPU core up to the round's size.
        cores: CPU cores to use in all, shared evenly among the workers; ``auto`` is what this process may use.
        timeout: seconds after which an evaluation counts as failed; None waits for ever.
    """

    name: str = "processes"
    workers: Literal["auto"] | Bound = "auto"
    cores: Literal["auto"] | Bound = "auto"
    timeout: float | None = Field(None, gt=0)


class RunSettings(_Table):
    """Everything that decides a run.

    Attributes:
        seed: of the whole search.
        start: code of the architecture that the search starts from.
        init: weights to start from: ``torchvision:FILE`` or ``FILE.safetensors``; None for fresh ones.
        warm_start_epochs: that the start is trained before anything is compared.
        noise_seeds: controls of the start that measure the seed noise.
        alike_failures: the run stops after this many evaluations in a row that fail for the same reason; they stay
            proposed, so that a resumed run tries them again.
        objective: metric to rank by; None for the task's first.
        budget: when the search ends.
        final: the comparison on test images.
        space: bounds of the search.
        executor: where evaluations run.
        strategy: the strategy's own table.
        task: the task's own table.
    """

    seed: int = Field(0, ge=0)
    start: str = "b@8_11-21-21-21"
    init: str | None = None
    warm_start_epochs: int = Field(14, ge=0)
    noise_seeds: int = Field(2, ge=1)
    alike_failures: int = Field(3, ge=1)
    objective: str | None = None
    budget: BudgetSettings = BudgetSettings()
    final: FinalSettings = FinalSettings()
    space: SpaceSettings = SpaceSettings()
    executor: ExecutorSettings = ExecutorSettings()
    strategy: dict[str, Any] = Field(default_factory=lambda: {"name": "serial"})
    task: dict[str, Any] = Field(default_factory=lambda: {"name": "detection"})
