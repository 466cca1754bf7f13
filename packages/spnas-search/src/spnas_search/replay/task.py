"""The task that trains nothing and knows everything: it answers from a table of trainings that were done before."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from spnas_core.configuration import Seed, Table, absolute_path
from spnas_core.cost import backbone_cost
from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.tasks import Evaluation, EvaluationRequest, MetricSpec, Report
from spnas_search.replay.table import ENOUGH, LEAST, ReplayTable, read_table

Side = Annotated[int, Field(ge=1, le=2**16)]


class ReplaySettings(Table):
    """The ``[task]`` table of the replay task; see ``ReplayTask``.

    Attributes:
        name: the task's name.
        table: file of trainings, as ``spnas_search.replay.table`` describes it; stored as an absolute path, so that a
            run goes on wherever the command is typed.
        data: which of the kinds of data in it.
        objective: the metric that comes first.
        minimised: metrics of which less is better, such as a miss rate; of all others more is.
        view: decides which repetition of each code is hidden from the search.
        image_size: (width, height) in pixels at which the table counts costs.
    """

    name: Literal["replay"] = "replay"
    table: Annotated[str, AfterValidator(absolute_path)]
    data: str = "small"
    objective: str = "AP"
    minimised: tuple[str, ...] = ()
    view: Seed = 0
    image_size: tuple[Side, Side] = (128, 128)

    def build(self) -> "ReplayTask":
        """Make the task."""
        return ReplayTask(Path(self.table), self.data, self.objective, self.view, self.image_size, self.minimised)


@dataclass(frozen=True)
class InTable:
    """The bound of a space that is a table; see ``SearchSpace.bounds``.

    Attributes:
        task: whose table.
    """

    task: "ReplayTask"

    def violation(self, architecture: Architecture) -> str | None:
        """Explain that an architecture is not in the table."""
        return None if str(architecture) in self.task.table.trained else f"not in the table {self.task.path.name}"


@dataclass(frozen=True)
class ReplayTask:
    """Answers from a table in microseconds.

    One repetition of every code is hidden from the search: validation scores are those of another one, drawn by the
    evaluation's seed; the hidden one's is the test score. So what a search chooses is judged by trainings that it never
    saw. Replicates are drawn with replacement: those of a code with m visible repetitions differ by 1 - 1/m of the
    variance of independent trainings, on average.

    Attributes:
        path: of the table.
        data: which of the kinds of data in it.
        objective: the metric that comes first.
        view: decides which repetition is hidden; for each code another one.
        image_size: (width, height) in pixels at which the table counts costs.
        minimised: metrics of which less is better.
    """

    path: Path
    data: str
    objective: str = "AP"
    view: int = 0
    image_size: tuple[int, int] = (128, 128)
    minimised: tuple[str, ...] = ()

    @cached_property
    def table(self) -> ReplayTable:
        """The trainings, as they are when they are first asked for, whatever becomes of the file."""
        return read_table(self.path, self.data)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the table where it is: whoever gets this task reads it."""
        return {key: value for key, value in vars(self).items() if key != "table"}

    @property
    def bounds(self) -> tuple["InTable"]:
        """No search leaves the architectures that were trained."""
        return (InTable(self),)

    @property
    def known_epochs(self) -> tuple[int, ...]:
        """Epochs after which every architecture was scored; see ``spnas_core.tasks.known_epochs``."""
        return self.table.ages

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """What the table has, the objective first."""
        names = self.table.metrics
        for name in (self.objective, *self.minimised):
            if name not in names:
                raise ConfigError(f"the replay table {self.path} has no metric {name!r}: {', '.join(names)}")
        ordered = sorted(names, key=lambda name: name != self.objective)
        return tuple(MetricSpec(name, higher_is_better=name not in self.minimised) for name in ordered)

    @property
    def fingerprint(self) -> str:
        """Digest of the table, and of which trainings in it a search sees."""
        seen = f"{self.data}\0{self.view}\0".encode()
        return hashlib.blake2b(seen + self.path.read_bytes(), digest_size=16).hexdigest()

    def prepare(self, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
        """Read the table.

        Raises:
            ConfigError: it cannot be read, or lacks something: of each training of an architecture one is hidden, so
                there must be two.
        """
        del cache
        table = self.table
        report("replay table", 1, 1)
        notes = [*_other_costs(table, self.image_size)]
        size = f"{len(table.trained)} architectures after {', '.join(map(str, table.ages))} epochs"
        better = "lower" if self.objective in self.minimised else "higher"
        if table.fewest < LEAST:
            once = min(table.trained, key=lambda code: len(table.repetitions_of(code)))
            raise ConfigError(
                f"the replay table {self.path} has architectures of {self.data!r} that were trained once, such as "
                f"{once}: a search must not see the training by which it is judged, so {LEAST} of each are needed"
            )
        if table.fewest < ENOUGH:
            notes.append(
                f"some were trained {table.fewest} times: with fewer than {ENOUGH} repetitions of each, replicates are "
                "equal, and the search takes its scores for exact"
            )
        return f"{size}; {better} {self.objective} is better", *notes

    def evaluate(self, request: EvaluationRequest, report: Report) -> Evaluation:
        """Look a training up.

        Raises:
            ConfigError: a code, a number of epochs, an image size or a share of the images that the table does not
                have, or weights to inherit: the table holds trainings from fresh weights.
        """
        del report
        if request.parent_weights is not None:
            raise ConfigError("a replay table holds trainings from fresh weights: set inherit = 'none'")
        fidelity = request.fidelity
        if fidelity.share != 1 or fidelity.image_size not in {None, self.image_size}:
            raise ConfigError(
                f"a replay table holds trainings on all images at {'x'.join(map(str, self.image_size))}, none at "
                f"{fidelity.image_size or 'that size'} on a share of {fidelity.share:g}"
            )
        code = str(request.rewrite.child)
        scored = self.table.scored(code, request.epochs)
        if request.weights is not None:
            request.weights.touch()
        return Evaluation(dict(scored[self._chosen(code, request)]), self.table.costs[code])

    def truth(self, code: str, epochs: int) -> float:
        """Return the objective of the training of a code that is hidden from the search."""
        return self.table.scored(code, epochs)[self._hidden(code)][self.objective]

    def _chosen(self, code: str, request: EvaluationRequest) -> int:
        """Return the repetition that answers."""
        hidden = self._hidden(code)
        if request.split == "test":
            return hidden
        visible = [number for number in self.table.repetitions_of(code) if number != hidden]
        return visible[request.seed % len(visible)]

    def _hidden(self, code: str) -> int:
        """Return the repetition that is hidden, the same one at every age."""
        known = self.table.repetitions_of(code)
        digest = hashlib.blake2b(f"{self.view} {code}".encode(), digest_size=8).digest()
        return known[int.from_bytes(digest) % len(known)]


def _other_costs(table: ReplayTable, image_size: tuple[int, int]) -> Iterator[str]:
    """Say so where a table's costs are not those of its networks at an image size, at which bounds are counted."""
    code = min(table.costs)
    told, counted = table.costs[code], backbone_cost(Architecture.parse(code), *image_size).as_dict()
    if told["multiply_adds"] != counted["multiply_adds"]:
        yield (
            f"the table has {told['multiply_adds']:,.0f} multiply-adds for {code}, which computes "
            f"{counted['multiply_adds']:,} at {'x'.join(map(str, image_size))}: bounds of the space are held by the "
            "latter; set task.image_size to what the table was made at"
        )
