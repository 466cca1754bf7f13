"""A signal study that is scored on both kinds of images: what a search sees, and what it means."""

import numpy as np
import pytest
from commands import done, refused
from scipy import stats
from signals import EIGHT, SCORE, planned, trained
from voc_folder import write_voc

from spnas_search.statistics import expected_rank_correlation, heritability
from spnas_search.studies import Arm, measure, read_signal_results
from spnas_search.studies.jobs import Schedule
from spnas_search.studies.signal_plot import draw_signal
from spnas_search.studies.signal_report import signal_markdown

SEEN, TRUTH = Arm("scratch", 8), Arm("scratch", 8, "test")
TINY = (
    *("--set", "task.image_size=[64, 64]", "--set", "task.detector.neck_channels=8", "--set", "task.device=cpu"),
    *("--set", "executor.name=inline", "--set", "start=b@4_1-2-2", "--set", "space.min_stages=3"),
    *("--set", "space.min_blocks=3", "--set", "warm_start_epochs=1"),
)


class TestThePlan:
    def test_truths_are_scored_on_test_images_and_what_a_search_sees_on_validation(self):
        plain, plan = planned(), planned(split="both")
        assert (plan.truth, plan.seen_truth, plain.seen_truth) == (TRUTH, SEEN, None)
        assert set(plan.scored) - set(plain.scored) == {
            Arm(how, epochs, "test") for how, epochs in (("scratch", 8), ("scratch", 16), ("inherited", 8))
        }
        known = {job.key: job.digest for job in plan.jobs}
        assert {job.key: job.digest for job in plain.jobs}.items() < known.items()  # trained and scored alike
        jobs = Schedule(plan.jobs).jobs
        for arm, keys in plan.scored.items():
            assert {jobs[key].split for code in keys for key in code} == {arm.images}

    def test_the_second_score_is_of_the_same_training_and_costs_no_epoch(self):
        plan = planned(split="both")
        jobs = Schedule(plan.jobs).jobs
        for seen, meant in zip(plan.scored[SEEN], plan.scored[TRUTH], strict=True):
            for one, other in zip(seen, meant, strict=True):
                assert jobs[other].parent == one
                assert jobs[other].fidelity.epochs == 0
                assert jobs[other].rewrite.child == jobs[other].rewrite.parent == jobs[one].rewrite.child
        assert plan.epochs_per_evaluation(TRUTH) == plan.epochs_per_evaluation(SEEN) == 8


class TestResults:
    @pytest.fixture
    def plan(self):
        return planned(EIGHT, trainings=3, split="both")

    def test_a_training_is_compared_with_the_others_of_the_truth(self, plan):
        rng = np.random.default_rng(0)
        table = {arm: rng.normal(size=(8, 3)) + 0.7 * np.arange(8)[:, None] for arm in plan.scored}
        results = measure(plan, trained(plan, lambda arm, code, r: float(table[arm][code, r])), SCORE)
        seen, truth = table[SEEN], table[TRUTH]
        means = [np.delete(truth, r, axis=1).mean(1) for r in range(3)]
        expected = np.mean([stats.spearmanr(seen[:, r], means[r]).statistic for r in range(3)])
        assert results.of(SEEN).with_truth.value == pytest.approx(expected)
        share = heritability(seen.tolist()).share * heritability(truth.tolist()).of_mean(2)
        assert results.seen_by_luck == pytest.approx(expected_rank_correlation(share**0.5, 8))
        none = results.of(Arm("none", 1))
        assert none.with_truth.value == pytest.approx(
            np.mean([stats.spearmanr(table[none.arm][:, r], means[r]).statistic for r in range(3)])
        )

    def test_luck_of_a_training_is_no_agreement_of_images(self, plan):
        """Codes are alike, and each training is as lucky on test images as on validation images."""
        luck = np.random.default_rng(0).normal(size=(8, 3))
        scores = {TRUTH: luck, SEEN: luck}
        results = measure(plan, trained(plan, lambda arm, code, r: float(scores.get(arm, luck * 0)[code, r])), SCORE)
        assert results.of(SEEN).with_truth.value < 0.3
        assert stats.spearmanr(luck.mean(1), luck.mean(1)).statistic == 1  # what means of the same trainings would say

    def test_the_page_says_which_images(self, plan, tmp_path):
        rng = np.random.default_rng(0)
        results = measure(plan, trained(plan, lambda arm, code, r: code + rng.normal()), SCORE)
        page = signal_markdown(results, plot="p")
        assert "8 codes × 3 trainings from scratch for 8 epochs, score on test images." in page
        assert "Does what is seen hold on test images? One training's scores on validation images" in page
        assert "about 0.88 would" in page.split("Does what is seen hold")[1].split("\n")[0]
        assert "| scratch 8, test |" in page
        assert "| scratch 8, validation |" in page
        assert "| truth: score | each training | validation | after 16 | 2nd truth |" in page
        plain = planned(EIGHT, trainings=3)
        assert ", validation |" not in signal_markdown(measure(plain, {}, SCORE), plot="p")
        draw_signal(results, tmp_path / "p.png")
        nothing = measure(plan, {}, SCORE)
        assert nothing.seen_by_luck is None
        draw_signal(nothing, tmp_path / "p.png")


def test_trained_weights_are_scored_as_they_are(tmp_path):
    """Where the test images are the validation images, each training has one score twice."""
    data, out = write_voc(tmp_path / "data"), tmp_path / "study"
    own = ("--codes", 3, "--trainings", 2, "--epochs", 2, "--child-epochs", 1, "--leave-out", "double")
    task = ("--set", "task.data_options.test=validation", "--set", "task.training.learning_rate=0.01")
    given = ("--data", f"voc:{data}", *TINY, *task, *own)
    told = done("study", "signal", *given, "--split", "both", "--out", out)
    assert " trainings (12 of them scored on both kinds of images) with " in told
    results = read_signal_results(out)
    for how in ("scratch", "inherited"):
        seen, meant = (results.of(Arm(how, 2, images)) for images in ("validation", "test"))
        assert seen.scores == meant.scores
        assert seen.count == 6
    assert not list((out / "weights").iterdir())
    message = refused("study", "signal", "--out", out, "--resume", "--split", "test")
    assert "has split = 'both', not 'test': start another one with --out elsewhere" in message
