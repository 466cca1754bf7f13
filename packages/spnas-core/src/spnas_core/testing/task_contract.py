"""What every task must keep, as a suite to run over one's own."""

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spnas_core.encoding import Architecture
from spnas_core.morphisms import Expand, Rewrite, identity
from spnas_core.tasks import Evaluation, EvaluationRequest, Fidelity, Progress, Task

COSTS = ("parameters", "multiply_adds", "activation_bytes")


class TaskContract:
    """A task scores what it promises, repeatably, and its weights can be inherited.

    Subclass it, and say by ``make`` how a small task is made.

    Attributes:
        code: of the architecture that is trained.
        epochs: of each training.
    """

    code = "b@8_11-21"
    epochs = 1

    def make(self) -> Task:
        """Make a new task; it is prepared by the suite.

        Raises:
            NotImplementedError: the subclass does not say.
        """
        raise NotImplementedError

    def test_it_says_what_it_measures(self) -> None:
        """Metrics have different names, and there is a first one."""
        names = [metric.name for metric in self.make().metrics]
        assert names, "the first metric is the objective"
        assert len(set(names)) == len(names)
        assert min(self.make().image_size) >= 1

    def test_evaluations_are_complete(self) -> None:
        """Every metric and cost is there, weights are written where they are asked for, progress is told."""
        with self._prepared() as (task, folder):
            told: list[Progress] = []
            request = self._request(identity(self._architecture), weights=folder / "weights")
            evaluation = task.evaluate(request, told.append)
            assert {metric.name for metric in task.metrics} <= set(evaluation.metrics)
            assert set(COSTS) <= set(evaluation.cost)
            assert evaluation.seconds >= 0
            assert (folder / "weights").is_file()
            assert {one.candidate for one in told} == {request.candidate}
            task.evaluate(self._request(identity(self._architecture)), told.append)
            assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["weights"]

    def test_the_same_seed_gives_the_same_scores(self) -> None:
        """In another copy of the task too, as worker processes have one."""
        with self._prepared() as (task, _):
            first = self._evaluate(task, self._request(identity(self._architecture)))
            copy: Task = pickle.loads(pickle.dumps(task))  # noqa: S301 - our own
            assert repr(self._evaluate(copy, self._request(identity(self._architecture))).metrics) == repr(
                first.metrics
            )

    def test_weights_are_inherited(self) -> None:
        """Without training, a control scores what its parent scored; a child can be trained on."""
        with self._prepared() as (task, folder):
            parent = folder / "weights"
            trained = self._evaluate(task, self._request(identity(self._architecture), weights=parent))
            control = self._request(identity(self._architecture), parent=parent, epochs=0, seed=2)
            assert repr(self._evaluate(task, control).metrics) == repr(trained.metrics)
            child = Expand().options(self._architecture)[0]
            evaluation = self._evaluate(task, self._request(child, parent=parent, seed=3))
            assert evaluation.receipt, "what was inherited is told"

    @property
    def _architecture(self) -> Architecture:
        return Architecture.parse(self.code)

    @contextmanager
    def _prepared(self) -> Iterator[tuple[Task, Path]]:
        with tempfile.TemporaryDirectory() as name:
            task, folder = self.make(), Path(name)
            (folder / "cache").mkdir()
            task.prepare(folder / "cache", lambda *_: None)
            yield task, folder

    def _request(
        self,
        rewrite: Rewrite,
        *,
        parent: Path | None = None,
        weights: Path | None = None,
        epochs: int | None = None,
        seed: int = 1,
    ) -> EvaluationRequest:
        fidelity = Fidelity(self.epochs if epochs is None else epochs)
        return EvaluationRequest(7, rewrite, parent, weights, fidelity, seed)

    @staticmethod
    def _evaluate(task: Task, request: EvaluationRequest) -> Evaluation:
        return task.evaluate(request, lambda _: None)
