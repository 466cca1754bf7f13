"""The start is scored at the age and in the setting of every child that is compared with it."""

import math

import pytest
from driving import Scripted, run_settings, scores

from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity, Pretraining
from spnas_search.archive import Archive, Proposal
from spnas_search.driver.ageing import begin_of, oldest_start

RULES = pytest.mark.parametrize("ranking", ["prediction", "traits", "lead"])


def settings_of(candidates) -> set:
    return {(one.age, one.fidelity.image_size, one.fidelity.share) for one in candidates}


def start_was_everywhere(archive: Archive) -> bool:
    children = (*archive.of_kind("child"), *archive.of_kind("reignition"))
    scored = [one for one in archive.evaluations(0) if math.isfinite(archive.score(one)) and one.split == "validation"]
    return settings_of(child for child in children if math.isfinite(archive.score(child))) <= settings_of(scored)


@RULES
def test_children_of_mixed_epochs_find_the_start_at_each_of_their_ages(drive, ranking):
    script = Scripted([(0, 2), (0, 5)], [(0, 2), (0, 5)], [(5, 2), (5, 5)], [(0, 3)])
    run = drive(run_settings(ranking=ranking, candidates=7), script, scores())
    run.to_the_end()
    assert {child.age for child in run.archive.of_kind("child")} >= {6, 7, 9}
    assert start_was_everywhere(run.archive)


@RULES
@pytest.mark.parametrize("gained", [0.4, 0.0])
def test_a_generation_at_an_age_of_its_own_shows_what_it_gains(drive, ranking, gained):
    """Its level would be the age's, were the start not there."""

    def evaluate(one):
        luck = 0.01 * (-1) ** one.id if one.kind == "control" and one.parent == 0 else 0.0
        return {"score": 0.5 + luck + (gained if one.kind == "child" and one.parent else 0.0), "loss": 0.0}

    settings = run_settings(ranking=ranking, seeds=0)
    run = drive(settings, Scripted([(0, 2), (0, 4)], [(4, 3), (4, 3)]), evaluate)
    run.to_the_end()
    leads = [run.archive.lead(child) for child in run.archive.of_kind("child")[2:]]
    assert all(gained / 2 - 0.02 <= lead <= gained + 0.05 for lead in leads)


class Coarse(Scripted):
    """Children of the second round see half of the images, on a smaller canvas."""

    def made(self, archive, children):
        made = super().made(archive, children)
        if archive.children < 2:
            return made
        return [
            Proposal("child", one.parent, one.rewrite, Fidelity(one.epochs, image_size=(64, 64), share=0.5))
            for one in made
        ]


@RULES
def test_children_of_another_setting_find_the_start_there_whatever_its_age(drive, ranking):
    run = drive(run_settings(ranking=ranking), Coarse([(0, 2), (0, 4)], [(4, 2), (4, 2)]), scores())
    run.to_the_end()
    assert start_was_everywhere(run.archive)
    assert all(run.archive.lead(child) is not None for child in run.archive.of_kind("child"))


@pytest.mark.parametrize("inherit", ["parent", "none"])
def test_the_noise_is_measured_as_the_strategy_says(drive, inherit):
    coarse = Fidelity(2, image_size=(64, 64), share=0.5)

    class Small(Scripted):
        control_fidelity = coarse

        def made(self, archive, children):
            return [Proposal("child", one.parent, one.rewrite, coarse) for one in super().made(archive, children)]

    run = drive(
        run_settings(ranking="prediction", inherit=inherit, seeds=0), Small([(0, 2)] * 2, [(0, 2)] * 2), scores()
    )
    run.to_the_end()
    archive = run.archive
    assert [one.fidelity for one in archive.of_kind("control")] == [coarse, coarse]
    assert archive.start.fidelity == (coarse if inherit == "none" else Fidelity(4))
    assert archive.spread().freedom == (2 if inherit == "none" else 1)


class Reigniting(Scripted):
    """The first child is pretrained anew, and the next ones descend from that."""

    reignites = True

    def propose(self, archive, rng):
        done = archive.of_kind("reignition")
        if archive.children == 1 and not done:
            (child,) = archive.of_kind("child")
            same = identity(child.architecture)
            return [Proposal("reignition", child.id, same, Fidelity(2), pretraining=Pretraining(1))]
        if 1 <= archive.children < 3:
            return self.made(archive, [(done[0].id, 2)])
        return super().propose(archive, rng)


@RULES
@pytest.mark.parametrize("inherit", ["parent", "warm-start"])
def test_heirs_of_a_reignition_are_no_better_for_being_older(drive, ranking, inherit):
    """Scores grow with age and with nothing else."""
    settings = run_settings(ranking=ranking, inherit=inherit, candidates=3, seeds=0, noise=4)
    luck = {1: 0.01, 2: -0.01, 3: 0.01, 4: -0.01}
    run = drive(
        settings,
        Reigniting([(0, 2)], [], []),
        lambda one: {"score": 0.3 + 0.05 * one.age + luck.get(one.id, 0.0), "loss": 0.0},
    )
    run.to_the_end()
    archive = run.archive
    assert {one.age for one in archive.of_kind("reignition")} == {8}
    assert {one.age for one in archive.of_kind("child")} == {6, 10}
    assert start_was_everywhere(archive)
    children = (*archive.of_kind("child"), *archive.of_kind("reignition"))
    assert all(abs(archive.lead(child)) < 0.02 for child in children)


@pytest.mark.parametrize("undefined", [None, math.nan], ids=["failed", "undefined"])
def test_a_failed_training_of_the_start_is_proposed_again_while_children_wait_for_it(drive, undefined):
    """The last one is owed even where no children follow."""
    script = Scripted([(0, 2)], [(4, 2)], [(4, 2)])
    run = drive(run_settings(ranking="prediction", candidates=3, noise=3), script, scores(control={5: undefined}))
    run.to_the_end()
    assert (run.archive[5].kind, run.archive[5].age) == ("control", 8)
    assert start_was_everywhere(run.archive)
    last = drive(run_settings(ranking="prediction", candidates=2, noise=3), script, scores(control={5: undefined}))
    last.to_the_end()
    assert start_was_everywhere(last.archive)


def test_the_start_goes_on_from_the_age_of_the_parent(drive):
    script = Scripted([(0, 2)], [(4, 2)], [(4, 3)])
    run = drive(run_settings(ranking="prediction", candidates=3, noise=3), script, scores())
    assert run.to_the_end()[2:5] == [
        [("child", 0, 2)],
        [("control", 1, 2), ("child", 4, 2)],
        [("control", 1, 3), ("child", 4, 3)],
    ]
    assert [begin_of(run.archive, age).age for age in (4, 5, 6, 7, 8, 9, 100)] == [4, 4, 6, 6, 8, 9, 9]


def test_the_start_keeps_up_with_children_whose_parents_were_trained_on(drive):
    class Chain(Scripted):
        def made(self, archive, children):
            older = [one.id for one in archive.of_kind("child")[:-1]] or [0]
            return super().made(archive, [(older[-1], epochs) for _, epochs in children])

    settings = run_settings(ranking="prediction", candidates=8, rungs={"epochs": [3, 5], "chance": 1e-9})
    run = drive(settings, Chain(*[[(0, 2)]] * 8), scores())
    run.to_the_end()
    oldest = max(child.age for child in run.archive.of_kind("child"))
    assert oldest > 4 + 8 * 2, "children inherit from rungs"
    assert oldest_start(run.archive).age >= oldest


def test_a_child_of_another_fidelity_finds_the_start_at_that_fidelity(drive):
    class Small(Scripted):
        def propose(self, archive: Archive, rng) -> list[Proposal]:
            fidelity = Fidelity(2, image_size=(64, 64), share=0.5)
            made = super().propose(archive, rng)
            return [Proposal("child", one.parent, one.rewrite, fidelity) for one in made]

    run = drive(run_settings(ranking="prediction", candidates=1), Small([(0, 2)]), scores())
    entered = [run.round() for _ in range(3)][-1]
    assert [(one.kind, one.fidelity.image_size, one.fidelity.share) for one in entered] == [
        ("control", (64, 64), 0.5),
        ("child", (64, 64), 0.5),
    ]
