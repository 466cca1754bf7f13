"""Tasks: what a search asks for, and what it gets back.

Everything that crosses is a frozen value of plain Python types, so that it can be pickled to another process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Rewrite
from spnas_core.tasks.sharing import SharedTraining

if TYPE_CHECKING:
    from spnas_core.interchange.initial_weights import InitialWeights
    from spnas_core.space.search_space import Bound

Split = Literal["validation", "test"]
SMALLEST_IMAGE = 32
"""Pixels that the sides of a canvas have at least."""


@dataclass(frozen=True)
class Fidelity:
    """How much is spent on an evaluation. Only scores of one fidelity and age compare directly.

    Attributes:
        epochs: to train, 0 or more; 0 scores only.
        image_size: (width, height) in pixels of the canvas that images are trained and scored on, at least 32; None is
            the task's own.
        share: of the training images that is used, above 0, at most 1.
        rung: 0 for a candidate's first evaluation; one more each time that it is trained on because it did well.

    Raises:
        ValueError: a value outside its range.
    """

    epochs: int
    image_size: tuple[int, int] | None = None
    share: float = 1.0
    rung: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"{self.epochs} epochs: it must be 0 or more")
        if self.image_size is not None and min(self.image_size) < SMALLEST_IMAGE:
            raise ValueError(f"image size {self.image_size}: it must be width and height, {SMALLEST_IMAGE} or more")
        if not 0 < self.share <= 1:
            raise ValueError(f"share {self.share} of the images: it must be above 0 and at most 1")
        if self.rung < 0:
            raise ValueError(f"rung {self.rung}: it must be 0 or more")


@dataclass(frozen=True)
class Pretraining:
    """Classification before detection: reignition.

    Attributes:
        epochs: of the classification training, 1 or more.
        fresh: whether the backbone begins with fresh weights, and not with those that it inherits.

    Raises:
        ValueError: less than one epoch.
    """

    epochs: int
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ValueError(f"{self.epochs} epochs of pretraining: it must be 1 or more")


@dataclass(frozen=True)
class EvaluationRequest:
    """Train one candidate and score it.

    Attributes:
        candidate: its number in the archive.
        rewrite: the child and where its blocks come from; the identity for the start and for controls.
        parent_weights: file of the weights to inherit from; None starts from fresh weights.
        weights: file to write the trained weights to; None writes none.
        fidelity: how long to train, at which image size, on which share of the images.
        seed: of everything random in the evaluation.
        threads: CPU threads to compute with.
        split: images to score on.
        pretraining: what the backbone is trained on before; None for nothing. Only tasks that say ``pretrains`` are
            asked for it.
        sharing: how the weights are trained that parts of the architecture are to share; None trains it alone. Only
            tasks with a ``check_sharing`` are asked for it.
    """

    candidate: int
    rewrite: Rewrite
    parent_weights: Path | None
    weights: Path | None
    fidelity: Fidelity
    seed: int
    threads: int = 1
    split: Split = "validation"
    pretraining: Pretraining | None = None
    sharing: SharedTraining | None = None

    @property
    def epochs(self) -> int:
        """Epochs to train; 0 scores only."""
        return self.fidelity.epochs


@dataclass(frozen=True)
class Evaluation:
    """What came of a request.

    Attributes:
        metrics: by name, NaN where undefined.
        cost: by name: ``parameters``, ``multiply_adds``, ``activation_bytes`` of the backbone.
        receipt: what was inherited, and what else is to be known, as plain values. ``partial_scores`` are metrics by
            epoch, of the middle of the training.
        seconds: that the evaluation took.
    """

    metrics: Mapping[str, float]
    cost: Mapping[str, float]
    receipt: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        candidate: its number in the archive.
        done: finished steps.
        total: steps in all.
        note: the phase, or the last loss, for people.
        metrics: a partial score: what the metrics are at this moment of the training; empty for none.
    """

    candidate: int
    done: int
    total: int
    note: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class MetricSpec:
    """A metric of a task: its name, and whether higher is better."""

    name: str
    higher_is_better: bool = True


class Task(Protocol):
    """Trains and scores candidates. A task must be picklable after ``prepare``: worker processes get a copy."""

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Metrics of every evaluation; the first is the default objective."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) in pixels of the images that the network sees; costs are counted at it."""

    def prepare(self, cache: Path, report: Callable[[str, int, int], None]) -> tuple[str, ...]:
        """Read, check and cache the data, once per run and in the loop's own process.

        Args:
            cache: folder for whatever should not be computed twice.
            report: called with (what, done, total).

        Returns:
            Notes for the log, for example how many boxes were dropped.

        Raises:
            DataError: the data cannot be used.
        """

    def evaluate(self, request: EvaluationRequest, report: Report) -> Evaluation:
        """Train and score one candidate.

        Raises:
            EvaluationError: no score came out (the loss diverged, …); the message becomes the candidate's reason.
        """


def pretrains(task: Task) -> bool:
    """Whether a task can pretrain a backbone on classification: it says so by a true attribute ``pretrains``."""
    return bool(getattr(task, "pretrains", False))


def bounds_of(task: Task) -> "tuple[Bound, ...]":
    """Return what a task knows of the space: one that can evaluate some architectures only says so by ``bounds``.

    See ``SearchSpace.bounds``; the attribute is asked for before ``prepare``, and may be left out.
    """
    return tuple(getattr(task, "bounds", ()))


def known_epochs(task: Task) -> tuple[int, ...] | None:
    """Return of how many epochs a task knows trainings; None for one that trains, and so knows all.

    A task that answers from trainings that were done before says so by an attribute ``known_epochs``; they began with
    fresh weights, and none of them can be gone on with. The attribute is asked for before ``prepare``.
    """
    known = getattr(task, "known_epochs", None)
    return None if known is None else tuple(known)


def check_pretraining(task: Task) -> tuple[str, ...]:
    """Ask a task whether a backbone could be pretrained, before anything is trained.

    A task that knows has a method ``check_pretraining``, which reads what there is to classify, without its images.

    Returns:
        What a reader of results should know of it.

    Raises:
        DataError: there is too little to classify.
    """
    check = getattr(task, "check_pretraining", None)
    return () if check is None else tuple(check())


def check_start(task: Task, start: Architecture, weights: "InitialWeights | None") -> tuple[str, ...]:
    """Ask a task whether a search can begin, before it reads any data.

    A task that knows has a method ``check_start(start, weights)``.

    Args:
        task: not prepared yet.
        start: the first architecture.
        weights: from outside that it begins with; None for fresh ones.

    Returns:
        What a reader of results should know of it.

    Raises:
        SpnasError: the task's settings, the start and the weights do not fit together.
    """
    check = getattr(task, "check_start", None)
    return () if check is None else tuple(check(start, weights))


def data_fingerprint(task: Task) -> str:
    """Return what a prepared task says of the content of its data.

    A task that has data gives it an attribute ``fingerprint``: a text that is the same wherever the data lies and
    changes whenever a score could. A run goes on only where it is what it was.

    Returns:
        Empty where the task has no such attribute.
    """
    return str(getattr(task, "fingerprint", ""))


def pretraining_fingerprint(task: Task) -> str:
    """Return what a task says of the images that backbones are pretrained on, where these are none of its data.

    A task that has such gives it an attribute ``pretraining_fingerprint``, known after ``check_pretraining``: a text
    that changes whenever they do.

    Returns:
        Empty where the task has no such attribute.
    """
    return str(getattr(task, "pretraining_fingerprint", ""))


def is_prepared_here(task: Task) -> bool:
    """Whether a prepared task finds what ``prepare`` has made, on whichever machine this process runs.

    A task that keeps files has a method ``is_prepared_here``. Where it says no, an executor whose workers are elsewhere
    calls ``prepare`` there, once per machine.

    Returns:
        True where the task has no such method.
    """
    check = getattr(task, "is_prepared_here", None)
    return True if check is None else bool(check())


def test_images(task: Task) -> str:
    """Return what results call the images of a prepared task's split ``test``.

    A task whose test images are not images of their own says so by an attribute ``test_images``, such as ``validation
    images (test = validation)``.
    """
    return str(getattr(task, "test_images", "test images"))


class Suit(Protocol):
    """Chooses settings that the user has not, so that they suit data and start."""

    def __call__(self, values: Mapping[str, Any], start: Architecture, init: str | None, prefix: str = "") -> "Suited":
        """Complete a ``[task]`` table.

        Args:
            values: the table as the user gave it, plain and not checked; whatever it has stays.
            start: architecture that is trained first.
            init: weights that it begins with, as the settings name them; None for fresh ones.
            prefix: what stands before the table's keys where they are told of.

        Raises:
            SpnasError: the table is wrong, or the data cannot be read.
        """


@dataclass(frozen=True)
class Suited:
    """A completed ``[task]`` table.

    Attributes:
        values: the table, with what was chosen.
        remarks: what was chosen and why, and what else the user should look at; one line each.
    """

    values: Mapping[str, Any] = field(hash=False)
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskPlugin:
    """A task as the plugins register it.

    Attributes:
        summary: one line for listings.
        settings: pydantic model of the ``[task]`` table.
        build: makes the task from validated settings.
        suited: completes the table of a new run before it is checked; None leaves it to the model's defaults.
        example: a small table that ``spnas plugins check`` tries the task with; None where there is none.
    """

    summary: str
    settings: type[Any]
    build: Callable[[Any], Task]
    suited: Suit | None = None
    example: Mapping[str, Any] | None = None
