"""The tables of ``run.toml`` that belong to the search; strategy, executor and task bring their own models.

The defaults are a search on generated shapes of ten minutes on two cores.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from spnas_core.configuration import Count, Few, Large, Seed, Table
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.space import Bound, Sampling, SearchSpace
from spnas_search.archive import Inherit
from spnas_search.ranking import RuleName


def _check_ratio(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?x", text) or not 0 < float(text[:-1]) <= MOST_RATIO:
        raise ValueError(f"a multiple of the start's looks like '1.5x' and is at most '{MOST_RATIO}x'")
    return text


MOST_RATIO = 10**6
"""Largest multiple of the start's cost or blocks."""
Positive = Annotated[Large, Field(ge=1)]
Ratio = Annotated[str, AfterValidator(_check_ratio)]
Limit = Positive | Literal["none"] | Ratio


CANDIDATES = 16
"""Children of a search whose budget has no bound."""


class BudgetSettings(Table):
    """When the search ends: at the first bound that is reached. Without any, after ``CANDIDATES`` children.

    Attributes:
        candidates: children to evaluate; None for no bound.
        epochs: of training, all evaluations of the search together: warm start, controls, replicates and the finalists'
            re-scoring included, the verdict on test images not; None for no bound.
        hours: wall-clock time of evaluation after which no further child is proposed; what ends a search follows all
            the same. None for no bound.
    """

    candidates: Count | None = Field(None, ge=0)
    epochs: Large | None = Field(None, ge=1)
    hours: float | None = Field(None, gt=0)

    @property
    def children(self) -> int | None:
        """Most children; None for no bound."""
        is_bound = self.candidates is not None or self.epochs is not None or self.hours is not None
        return self.candidates if is_bound else CANDIDATES


class FinalSettings(Table):
    """How a search is brought to its verdict.

    Attributes:
        finalists: the best so many children are scored again on validation images before one of them is called the
            winner; 0 takes the best as it is.
        rescores: trainings of each finalist with other seeds; 0 takes the best as it is.
        seeds: new warm starts of the verdict, from the weights that the run was given or else from fresh ones, each of
            which start and winner are trained on from; 2 or more give an interval, 1 gives none, 0 leaves the verdict
            out.
        epochs: that both are trained after such a warm start; None for as many as the winner was in the search.
        from_scratch: whether both are also trained from fresh weights, as often.
        scratch_epochs: of these trainings; None for the winner's age.
        alone: children, of all ranks, that the verdict trains from fresh weights too where ``inherit`` is ``supernet``:
            they show how well the shared weights rank.
        train_epochs: that the winner is trained for use when all else is done; None for as many as the warm start where
            the strategy is the whole search (``full``), and none elsewhere.
        train_fresh: whether that training begins with fresh weights, and not with those that the search has left.
    """

    finalists: Few = Field(3, ge=0)
    rescores: Few = Field(2, ge=0)
    seeds: Few = Field(4, ge=0)
    epochs: Count | None = Field(None, ge=0)
    from_scratch: bool = False
    scratch_epochs: Count | None = Field(None, ge=0)
    alone: Few = Field(8, ge=0)
    train_epochs: Count | None = Field(None, ge=0)
    train_fresh: bool = False


class RungSettings(Table):
    """Training the promising children longer, and stopping the others early.

    Attributes:
        epochs: of each further rung: a child that may still turn out best is trained on by as many. None where empty.
        chance: least probability, as the ranking model has it, that a child is as good as the best one; below it the
            child is stopped.
    """

    epochs: tuple[Annotated[Count, Field(ge=1)], ...] = ()
    chance: float = Field(0.2, gt=0, le=0.5)


class SpaceSettings(Table):
    """Bounds of the search; see ``spnas_core.space.SearchSpace``.

    Attributes:
        min_blocks: fewest residual blocks.
        max_blocks: most residual blocks: a number, or a multiple of the start's such as ``"2x"``, which is raised to
            ``min_blocks`` and ``min_stages``. Of what is drawn at random from a space of far deeper networks, hardly
            anything resembles the start.
        min_stages: fewest stages.
        max_stages: most stages.
        max_rows: most parallel rows beside a stage.
        block_types: allowed block types; empty for all.
        max_parameters: of the backbone: a number, a multiple of the start's such as ``"1.5x"``, or ``"none"``.
        max_multiply_adds: the same for multiply-adds at the task's image size.
        max_activation_bytes: the same for activation memory.
        max_latency: of the backbone's forward pass for one image, measured: in milliseconds, as a multiple of the
            start's, or ``"none"``.
        latency_device: on which it is measured.
        sampling: what is drawn at random, by random search and wherever samples are compared with: ``grown`` from the
            start by swap, expand and add stage, so that all its blocks and doublings stay, or ``any`` code inside the
            bounds. For a search whose odds name remove, widen, narrow or halve, ``any`` is the same space.
    """

    min_blocks: Few = Field(4, ge=1)
    max_blocks: Annotated[Few, Field(ge=1)] | Ratio = "2x"
    min_stages: Few = Field(4, ge=1)
    max_stages: Few = Field(7, ge=1)
    max_rows: Few = Field(3, ge=0)
    block_types: tuple[str, ...] = ()
    max_parameters: Limit = "none"
    max_multiply_adds: Limit = "1.5x"
    max_activation_bytes: Limit = "none"
    max_latency: Annotated[float, Field(gt=0)] | Literal["none"] | Ratio = "none"
    latency_device: str = "cpu"
    sampling: Sampling = "grown"

    def build(self, start: Architecture, image_size: tuple[int, int], bounds: Sequence[Bound] = ()) -> SearchSpace:
        """Turn multiples of the start's cost into numbers; the bound on latency is not among them.

        Args:
            start: of the search.
            image_size: (width, height) in pixels at which costs are counted.
            bounds: further ones, such as those of the task.

        Raises:
            SpaceError: a lower bound above its upper bound.
        """
        values = self.model_dump(exclude={"max_latency", "latency_device"})
        if isinstance(self.max_blocks, str):
            blocks = int(round(float(self.max_blocks.removesuffix("x")) * len(start.digits), 9))
            values["max_blocks"] = max(blocks, self.min_blocks, self.min_stages)
        cost = backbone_cost(start, *image_size).as_dict()
        for name in cost:
            bound = values[f"max_{name}"]
            if bound == "none":
                values[f"max_{name}"] = None
            elif isinstance(bound, str):
                values[f"max_{name}"] = int(float(bound.removesuffix("x")) * cost[name])
        return SearchSpace(image_size=image_size, bounds=tuple(bounds), **values)


class RunSettings(Table):
    """Everything that decides a run.

    Attributes:
        seed: of the whole search.
        start: code of the architecture that the search starts from.
        init: weights to start from: ``torchvision:FILE`` (a ResNet's, or a detector's with FPN on one),
            ``torchvision-backbone:FILE`` (of the detector the backbone alone) or ``FILE.safetensors``; None for fresh
            ones.
        warm_start_epochs: that the start is trained before anything is compared; where ``inherit`` is ``none``, it is
            trained for as long as its children instead.
        inherit: what children begin with: ``parent``, their parent's weights; ``warm-start``, those of the start after
            its warm start, through the composed rewrite; ``none``, fresh ones; ``supernet``, those of the start,
            whose parts are trained to share them: then children are its parts, and each inherits from it at once.
        ranking: rule that says from all scores which candidate is better; see ``spnas_search.ranking``.
        noise_seeds: trainings of the start, alike but for their seed, that measure the noise of a score; two may be off
            by a factor of ten, four by two.
        alike_failures: the run stops after this many evaluations in a row that fail for the same reason; they stay
            proposed, so that a resumed run tries them again. Once a child has a result, those do not count that fail by
            what their candidate is: out of memory, out of time, or without a finite loss.
        objective: metric to rank by; None for the task's first.
        pareto: what is weighed against it, one or more: ``parameters``, ``multiply_adds``, ``activation_bytes``,
            ``latency`` (measured on ``space.latency_device``), or further metrics of the task. The Pareto front of all
            of them is kept; parents may be drawn from it (``strategy.parents``).
        budget: when the search ends.
        final: how it is brought to its verdict.
        rungs: further training of promising children.
        asynchronous: whether a child is proposed whenever a worker is free, from whatever has ended by then, instead of
            round by round: no worker waits for the slowest of a round, what is searched depends on which evaluation
            ends first, and ``strategy.round`` is heeded only as ``per_update`` of what learns.
        space: bounds of the search.
        executor: the table of the executor, where evaluations run.
        strategy: the strategy's own table.
        screen: the table of a screen, which chooses among more children than are trained; ``own``, the one that the
            strategy comes with, if any; ``none``.
        task: the task's own table.
    """

    seed: Seed = 0
    start: str = "b@8_11-21-21-21"
    init: str | None = None
    warm_start_epochs: Count = Field(14, ge=0)
    inherit: Inherit = "parent"
    ranking: RuleName = "traits"
    noise_seeds: Few = Field(4, ge=2)
    alike_failures: Count = Field(3, ge=1)
    objective: str | None = None
    pareto: tuple[str, ...] = Field(("multiply_adds",), min_length=1)
    budget: BudgetSettings = BudgetSettings()
    final: FinalSettings = FinalSettings()
    rungs: RungSettings = RungSettings()
    asynchronous: bool = False
    space: SpaceSettings = SpaceSettings()
    executor: dict[str, Any] = Field(default_factory=lambda: {"name": "processes"})
    strategy: dict[str, Any] = Field(default_factory=lambda: {"name": "serial"})
    screen: dict[str, Any] | Literal["own", "none"] = "own"
    task: dict[str, Any] = Field(default_factory=lambda: {"name": "detection"})

    def start_epochs(self, epochs: int) -> int:
        """Epochs of the start: its warm start, or, where nobody inherits from it, those of the others.

        Args:
            epochs: of a child.
        """
        return epochs if self.inherit == "none" else self.warm_start_epochs

    def training_epochs(self, *, wanted: bool) -> int:
        """Epochs that the winner is trained for use in the end: as said, else those of a warm start where it is wanted.

        Args:
            wanted: whether the strategy asks for it.
        """
        if self.final.train_epochs is not None:
            return self.final.train_epochs
        return self.warm_start_epochs if wanted else 0

    def reserved_epochs(self, epochs: int) -> int:
        """Epochs that a search leaves for the re-scoring of its finalists.

        Args:
            epochs: of a child.
        """
        return self.final.finalists * self.final.rescores * epochs

    def least_epochs(self, epochs: int) -> int:
        """Epochs of training before a first child is known: warm start, noise, that child, and the re-scoring.

        Args:
            epochs: of a child.
        """
        return self.start_epochs(epochs) + (self.noise_seeds + 1) * epochs + self.reserved_epochs(epochs)

    def expected_children(self, epochs: int) -> int | None:
        """About how many children the budget has room for; None where hours alone bound it.

        Of the epochs beyond those of a first child, two thirds are the children's: the others go to what they are
        compared with.

        Args:
            epochs: of a child.
        """
        budget = self.budget
        if budget.epochs is None or not epochs:
            return budget.children
        more = max(0, budget.epochs - self.least_epochs(epochs)) * 2 // (3 * epochs)
        return 1 + more if budget.children is None else min(budget.children, 1 + more)
