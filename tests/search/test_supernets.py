"""Searches whose children are parts of the start: what is proposed, what it inherits, what the verdict trains."""

import numpy as np
import pytest
from commands import INLINE, NULL, budget, done, refused
from driving import SCORE, Drive, run_settings, scores
from filled import Filled

from spnas_core import Architecture
from spnas_core.morphisms import align, identity
from spnas_core.space import SearchSpace
from spnas_core.supernets import PartOf, Parts, why_no_part
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.driver.verdict_rounds import sampled, scratches
from spnas_search.replay import ReplaySettings
from spnas_search.reports.closing import sharing_sentences
from spnas_search.run.opening import read_archive
from spnas_search.settings import resolve
from spnas_search.strategies import CheckedStrategy, strategy_plugin

START = Architecture.parse("b@8_111-211-211")
SPACE = SearchSpace(min_blocks=4, max_blocks=40, min_stages=3, max_stages=9, bounds=(PartOf(START),))


@pytest.fixture
def archive(tmp_path):
    with Archive.create(tmp_path / "archive.db", objective=SCORE, run_seed=0, inherit="supernet") as made:
        yield made


class OfParts:
    """Proposes parts that it draws, scored as they are."""

    control_epochs = 0
    control_fidelity = Fidelity(0)
    trains_winner = False

    def propose(self, archive, rng):
        if archive.children >= 6:
            return []
        found = []
        while len(found) < 3:
            code = Parts(START, SPACE).draw(rng)
            if not archive.contains(code) and code not in {one.rewrite.child for one in found}:
                parent = archive[archive.children and int(rng.integers(len(archive)))]
                parent = parent if parent.is_node else archive.start
                rewrite = align(parent.architecture, code)
                found.append(Proposal("child", parent.id, rewrite, Fidelity(0)))
        return found

    def stuck(self, archive):
        return None

    def may_use(self, archive):
        return frozenset()


def driven(archive, evaluate, **values):
    settings = replace_start(run_settings(inherit="supernet", candidates=6, **values))
    Drive(archive, settings, OfParts(), evaluate).to_the_end()
    return settings


def replace_start(settings):
    return settings.model_copy(update={"start": str(START)})


def test_every_child_inherits_from_the_start_whoever_its_parent_is(archive):
    driven(archive, scores(child={5: 0.9}))
    children = archive.of_kind("child")
    assert any(child.parent != archive.start.id for child in children)
    for child in (*children, *archive.of_kind("control"), *archive.of_kind("replicate")):
        assert child.source == archive.start.id
        rewrite = archive.rewrite_from_source(child)
        assert rewrite == align(START, child.architecture)
        assert None not in rewrite.block_map
        assert child.age == archive.start.age
    assert archive.rewrite_from_source(archive.of_kind("control")[0]) == identity(START)


def test_the_verdict_trains_alone_and_children_of_all_ranks_with_it(archive):
    values = iter(np.linspace(0.4, 0.9, 30))
    driven(archive, lambda one: {"score": float(next(values)), "loss": 0.0}, seeds=2)
    finals = archive.of_kind("final")
    assert all(one.parent is None and one.split == "test" and one.source is None for one in finals)
    assert not archive.of_kind("warm")
    winner = archive.winner
    assert len(scratches(archive, winner)) == len(scratches(archive, archive.start)) == 2
    others = [one for one in archive.of_kind("child") if one.id != winner.id]
    assert all(len(scratches(archive, one)) == 1 for one in others)
    assert {one.epochs for one in finals} == {archive.start.age}


def test_children_of_all_ranks_are_spread_evenly(archive):
    values = iter(np.linspace(0.4, 0.9, 30))
    driven(archive, lambda one: {"score": float(next(values)), "loss": 0.0}, seeds=0)
    ranked = sorted(archive.of_kind("child"), key=archive.score, reverse=True)
    assert list(sampled(archive, 3)) == [ranked[0], ranked[2], ranked[5]]
    assert list(sampled(archive, 99)) == ranked
    assert sampled(archive, 0) == ()


def test_the_rank_correlation_is_told_with_its_interval(archive):
    order = {}

    def evaluate(one):
        place = order.setdefault(str(one.architecture), len(order))
        if one.kind == "final":
            place = {0: 1, 1: 0}.get(place, place)  # alone the first two change places
        return {"score": 0.5 + 0.05 * place, "loss": 0.0}

    driven(archive, evaluate, seeds=1)
    (said,) = sharing_sentences(archive)
    assert said.startswith(
        "Scores with shared weights and those of 7 codes that were trained alone, on test images, have"
    )
    assert "tau of +0.905 (95 % interval " in said  # 20 of 21 pairs alike, 1 not


def test_too_few_codes_tell_no_correlation(archive):
    driven(archive, scores(), seeds=0)
    (said,) = sharing_sentences(archive)
    assert "cannot be told from 0 codes" in said
    assert "final.alone" in said


def test_other_searches_say_nothing_of_it(tmp_path):
    with Filled(tmp_path).archive as archive:
        assert not list(sharing_sentences(archive))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("random", {}),
        ("serial", {"odds": {"swap": 1, "remove": 1, "expand": 1}}),
        ("generations", {"generation": 6, "odds": {"swap": 1, "remove": 1, "expand": 1}}),
        ("regularized-evolution", {"population": 4, "odds": {"swap": 1, "remove": 1}}),
        ("evolution", {"population": 4, "initial": 2, "odds": {"swap": 1, "remove": 1}}),
        ("hill-climb", {"odds": {"swap": 1, "remove": 1}}),
    ],
)
def test_any_strategy_searches_the_parts_of_the_start(archive, name, values):
    plugin = strategy_plugin(name)
    settings = plugin.settings.model_validate({"name": name, "round": 2, "epochs": 0, **values})
    strategy = CheckedStrategy(name, plugin.build(settings, SPACE), SPACE)
    drive = Drive(
        archive,
        replace_start(run_settings(inherit="supernet", candidates=14, seeds=0)),
        strategy,
        lambda one: {"score": 0.5 + len(one.architecture.digits) / 100, "loss": 0.0},
    )
    drive.to_the_end()
    children = archive.of_kind("child")
    assert len(children) >= 8
    assert all(why_no_part(START, child.architecture) is None for child in children)
    assert min(len(child.architecture.digits) for child in children) < len(START.digits)


def test_a_search_with_the_null_task_runs_to_its_end(tmp_path):
    odds = ["--set", "strategy.odds={swap=1, remove=1, expand=1, add-stage=1}"]
    small = [*NULL, *INLINE, "--set", "start=b@8_111-211-211-21", "--set", "inherit=supernet", *odds]
    out = done("run", "serial", *small, "--set", "strategy.epochs=0", *budget(6, 1), "--out", tmp_path / "run")
    assert "6/6 children" in out
    assert "Kendall's tau" in out
    done("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert "Kendall&#39;s tau" in (tmp_path / "page.html").read_text()
    with read_archive(tmp_path / "run") as archive:
        start = archive.start.architecture
        assert [why_no_part(start, child.architecture) for child in archive.of_kind("child")] == [None] * 6


def test_tasks_that_cannot_share_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.delattr("spnas_search.testing.null_task.NullTask.check_sharing")
    said = refused("run", *NULL, "--set", "inherit=supernet", "--out", tmp_path / "run")
    assert "the task 'null' cannot train weights that all parts of the start share" in said
    assert not hasattr(ReplaySettings, "check_sharing")


def test_detection_refuses_what_cannot_be_shared(tmp_path):
    said = refused(
        "run", "--set", "inherit=supernet", "--set", 'task.detector.levels=["s2", "s3+"]', "--out", tmp_path / "run"
    )
    assert "leave out s1" in said


def test_reignition_is_refused(tmp_path):
    said = refused(
        "run", *NULL, "--set", "inherit=supernet", "--set", "strategy.reignition.most=1", "--out", tmp_path / "r"
    )
    assert "inherit = 'supernet'" in said


def test_the_preset_is_the_papers_search():
    from spnas_core.presets import find_preset
    from spnas_search.settings import search_values

    settings = resolve(search_values(find_preset("detnas")))
    assert settings.run.inherit == "supernet"
    assert settings.strategy.epochs == 0
    assert settings.task.recalibration_batches == 500
    assert (settings.strategy.generation, settings.strategy.mutants, settings.strategy.crossings) == (50, 20, 20)
