"""What every strategy and every executor must keep, as suites to run over one's own.

With pytest, subclass a suite in a test file and name what is tested:

    from spnas_search.testing import StrategyContract

    class TestMine(StrategyContract):
        plugin = StrategyPlugin("what it does", MineSettings, Mine)
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from spnas_core.errors import SpnasError
from spnas_core.space import SearchSpace
from spnas_core.tasks import EvaluationRequest, Fidelity, SharedTraining
from spnas_search.archive import Archive, Proposal
from spnas_search.executors import Executor, ExecutorPlugin, Outcome, evaluate_all
from spnas_search.strategies import CheckedStrategy, Strategy, StrategyPlugin
from spnas_search.testing.archives import START, enter, new_archive, start
from spnas_search.testing.null_task import NullTask

FEW = 6


class StrategyContract:
    """Proposals are valid, new, and follow from archive and rng alone.

    Attributes:
        plugin: the strategy, as it is registered.
        settings: of its table, for the suite.
        space: bounds of the searches.
        rounds: of the search that is gone through.
    """

    plugin: StrategyPlugin
    settings: Mapping[str, Any] = {}
    space = SearchSpace(min_blocks=1, max_blocks=40, min_stages=1, max_stages=9, image_size=(64, 64))
    rounds = 4

    def test_it_says_how_large_its_rounds_are_and_how_long_children_train(self) -> None:
        """By ``round`` and ``epochs``, of its settings or its own."""
        checked = self._checked()
        assert checked.round_size >= 1
        assert checked.control_epochs >= 0

    def test_proposals_are_valid_from_round_to_round(self) -> None:
        """The search's own check lets everything through, and a search comes on."""
        with self._filled() as archive:
            assert archive.children, "the strategy has proposed nothing"
            for child in archive.of_kind("child"):
                assert child.architecture in self.space

    def test_proposals_follow_from_archive_and_rng(self) -> None:
        """Neither another instance nor a reopened archive changes them, and asking changes nothing."""
        with self._filled() as archive, Archive.read(archive.path) as reopened:
            before = [*archive]
            for seed in range(5):
                first = self._made().propose(archive, np.random.default_rng(seed))
                assert self._made().propose(archive, np.random.default_rng(seed)) == first
                assert self._made().propose(reopened, np.random.default_rng(seed)) == first
            assert [*archive] == before
            assert self._made().stuck(reopened) == self._made().stuck(archive)
            assert self._made().may_use(reopened) == self._made().may_use(archive)

    def test_what_an_instance_has_seen_does_not_matter(self) -> None:
        """One that went through a search proposes what a new one does: a search that is resumed has a new one."""
        used = self._made()
        with self._filled(used) as archive:
            for seed in range(5):
                proposed = used.propose(archive, np.random.default_rng(seed))
                assert proposed == self._made().propose(archive, np.random.default_rng(seed))
            assert used.stuck(archive) == self._made().stuck(archive)
            assert used.may_use(archive) == self._made().may_use(archive)

    def test_proposals_hold_beside_children_that_are_under_way(self) -> None:
        """An asynchronous search asks before all have ended; a strategy that goes ``by_rounds`` is spared."""
        strategy = self._checked()
        if strategy.by_rounds:
            return
        with self._filled() as archive:
            for number in range(3):
                proposals = strategy.propose(archive, np.random.default_rng([number, len(archive)]))
                archive.commit_round(proposals[:1], threads=1)
            strategy.stuck(archive)
            strategy.may_use(archive)

    def test_parents_are_among_those_whose_weights_are_kept(self) -> None:
        """What may not be used any more is removed, so nothing may inherit from it."""
        with self._filled() as archive:
            strategy = self._checked()
            usable = strategy.may_use(archive)
            for seed in range(10):
                for proposal in strategy.propose(archive, np.random.default_rng(seed)):
                    assert proposal.parent in usable

    def test_without_a_start_nothing_is_proposed(self) -> None:
        """A start that has failed has no children."""
        with new_archive() as archive:
            archive.commit_round([Proposal("start", None, start(), Fidelity(2))], threads=1)
            archive.fail(0, "told to")
            assert self._checked().propose(archive, np.random.default_rng(0)) == []

    def _made(self) -> Strategy:
        return self.plugin.build(self.plugin.settings(**self.settings), self.space)

    def _checked(self, strategy: Strategy | None = None) -> CheckedStrategy:
        return CheckedStrategy("serial", strategy or self._made(), self.space)

    @contextmanager
    def _filled(self, proposing: Strategy | None = None) -> Iterator[Archive]:
        """An archive in which the strategy has proposed some rounds; scores are the null task's."""
        task, strategy = NullTask(), self._checked(proposing)
        with new_archive() as archive:
            sharing = None if strategy.relaxation is None else SharedTraining(self.space, strategy.relaxation)
            enter(archive, [Proposal("start", None, start(), Fidelity(4))], task, sharing)
            control = Proposal("control", 0, start(), Fidelity(strategy.control_epochs))
            enter(archive, [control] * 3, task)
            for number in range(self.rounds):
                proposals = strategy.propose(archive, np.random.default_rng([number, len(archive)]))
                if not proposals or strategy.stuck(archive) is not None:
                    break
                enter(archive, proposals, task)
            yield archive


class ExecutorContract:
    """Every request is answered once; what goes wrong in an evaluation is an outcome.

    Attributes:
        plugin: the executor, as it is registered.
        settings: of its table, for the suite.
        workers: evaluations at a time.
    """

    plugin: ExecutorPlugin
    settings: Mapping[str, Any] = {}
    workers = 2

    def test_every_request_is_answered_once(self) -> None:
        """In any order, with its own result, and from run to run."""
        with self._executor() as executor:
            assert executor.workers >= 1
            for first in (0, 10):
                outcomes = list(evaluate_all(executor, [_request(number) for number in range(first, first + 5)]))
                assert sorted(one.request.candidate for one in outcomes) == list(range(first, first + 5))
                for one in outcomes:
                    assert one.evaluation is not None
                    expected = NullTask().score(START, 2, one.request.seed)
                    assert one.evaluation.metrics["score"] == expected
                    assert one.reason == ""
                    assert one.seconds >= 0

    def test_a_failure_is_an_outcome(self) -> None:
        """With a reason in one line; the others go on."""
        with self._executor(behaviour={1: "raise", 2: "diverge"}) as executor:
            outcomes: dict[int, Outcome] = {
                one.request.candidate: one for one in evaluate_all(executor, [_request(number) for number in range(4)])
            }
        assert outcomes[1].evaluation is outcomes[2].evaluation is None
        assert outcomes[1].reason.startswith("RuntimeError: ")
        assert "Traceback" in outcomes[1].trace
        assert outcomes[2].reason == "the loss is NaN after epoch 1"
        assert all(outcomes[number].evaluation is not None for number in (0, 3))

    def test_a_users_mistake_is_raised(self) -> None:
        """No other candidate would fare better."""
        message = "it became an outcome"
        with self._executor(behaviour={0: "user-error"}) as executor:
            try:
                list(evaluate_all(executor, [_request(0)]))
            except SpnasError as error:
                message = str(error)
        assert message == "the null task was told to find no images: give it some"

    def test_nothing_to_do_is_nothing(self) -> None:
        """There is no outcome without a request."""
        with self._executor() as executor:
            assert list(evaluate_all(executor, [])) == []
            assert not executor.cancel(0)

    def test_more_can_be_submitted_while_others_run(self) -> None:
        """And nobody twice."""
        with self._executor() as executor:
            executor.submit(_request(0))
            found = []
            for outcome in executor.outcomes():
                found.append(outcome.request.candidate)
                if len(found) < FEW:
                    executor.submit(_request(len(found)))
            assert found == list(range(FEW))
            for number in range(FEW):
                executor.submit(_request(number))
            assert _refuses(executor, FEW - 1), "a candidate was taken twice"
            if executor.cancel(FEW - 1):
                assert _refuses(executor, FEW - 1), "a candidate was taken again before its end was told"
            assert len(list(executor.outcomes())) == FEW

    def test_who_stops_listening_leaves_nothing_behind(self) -> None:
        """What was cancelled is answered, and does not come back."""
        with self._executor() as executor:
            outcomes = evaluate_all(executor, [_request(number) for number in range(FEW)])
            next(outcomes)
            outcomes.close()
            assert list(executor.outcomes()) == []
            assert [one.reason for one in evaluate_all(executor, [_request(0)])] == [""]

    def _executor(self, **values: Any) -> Any:
        settings = self.plugin.settings(**self.settings)
        return self.plugin.build(settings, NullTask(**values), self.workers, lambda _: None)


def _refuses(executor: Executor, number: int) -> bool:
    try:
        executor.submit(_request(number))
    except ValueError:
        return True
    return False


def _request(number: int) -> EvaluationRequest:
    return EvaluationRequest(number, start(), None, None, Fidelity(2), seed=number)
