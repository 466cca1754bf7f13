"""The choice among parts, trained beside their weights: who learns of which images, and what a step changes."""

import numpy as np
import pytest
import torch

from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_core.relaxation import Decisions, Logits, Relaxation, best_codes
from spnas_core.space import SearchSpace
from spnas_core.supernets import MixedBackbone, part_of
from spnas_core.tasks import EvaluationRequest, Fidelity, SharedTraining
from spnas_detect.detectors import build_detector
from spnas_detect.detectors.loading import load_detector
from spnas_detect.preparation import make_repeatable, train_loader
from spnas_detect.settings import DetectionSettings
from spnas_detect.supernets.paths import Paths
from spnas_detect.supernets.relaxed import RelaxedWeights
from spnas_detect.task import DetectionTask
from spnas_detect.training import Trainer

START = Architecture.parse("b@8_11-211-21")
SPACE = SearchSpace(min_blocks=4, min_stages=3)
DATA = {"image_size": 64, "train": 24, "validation": 8, "test": 2, "max_size": 32, "min_size": 12}
SETTINGS = DetectionSettings(
    image_size=(64, 64),
    data_options=DATA,
    training={"batch_size": 4, "warmup_steps": 2},
    recalibration_batches=2,
    detector={"neck_channels": 8, "head_channels": 16},
)
CPU = torch.device("cpu")
KINDS = {"softmax": {}, "gumbel": {"cost": 0.1}, "binary": {"cost": 0.3, "cost_form": "log"}}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    made = DetectionTask(SETTINGS)
    made.prepare(tmp_path_factory.mktemp("cache"), lambda *_: None)
    return made


def relaxation(kind, **changes):
    return Relaxation(kind, **{"learning_rate": 0.05, **KINDS[kind], **changes})


class Made:
    """A supernet about to be trained together with the choice among its parts."""

    def __init__(self, task, settings, *, halves=(0, 1), epochs=2):
        make_repeatable(deterministic=True, seed=0)
        data = task._data(SETTINGS)
        generator = torch.Generator().manual_seed(0)
        classes = len(data.classes)
        self.detector = build_detector(
            identity(START), classes, SETTINGS.detector, {}, generator=generator, shares=True
        )[0]
        loaders = [
            train_loader(SETTINGS.training, data, seed=3, epochs=epochs, device=CPU, half=half) for half in halves
        ]
        self.trainer = Trainer(self.detector, loaders[0], SETTINGS.training, 0.003, epochs, seed=3)
        self.loaders = loaders
        others = loaders[1] if settings.halves else None
        paths = Paths(self.detector, SETTINGS.detector)
        self.shared = RelaxedWeights(self.trainer, paths, settings, others, (64, 64))

    def run(self, steps):
        """Train some steps; the logits after each."""
        found = []

        def after():
            self.shared.after_step()
            found.append(self.alpha())
            return len(found) == steps

        self.trainer.run(lambda _: None, before_step=self.shared.before_step, after_step=after)
        self.shared.restore()
        return found

    def alpha(self):
        return torch.cat([one.detach().flatten().clone() for one in self.shared.logits.tensors()])


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_learns_which_parts_it_prefers_and_its_parts_can_be_scored(task, tmp_path, kind):
    sharing = SharedTraining(SPACE, relaxation(kind))
    file = tmp_path / "start.safetensors"
    request = EvaluationRequest(0, identity(START), None, file, Fidelity(2), 3, sharing=sharing)
    result = task.evaluate(request, lambda _: None)
    told = result.receipt["relaxation"]
    assert told["kind"] == kind
    logits, decisions = Logits.from_plain(told), Decisions(START, kind != "binary")
    drawn = Logits.drawn(decisions, np.random.default_rng(0))
    assert logits.move.shape == drawn.move.shape
    assert float(logits.keep.abs().max()) > 0.02
    assert 0 < told["expected_multiply_adds"] <= result.cost["multiply_adds"] * 1.5
    code = best_codes(decisions, logits, SPACE, 1)[0]
    child = task.evaluate(EvaluationRequest(1, part_of(START, code), file, None, Fidelity(0), 4), lambda _: None)
    assert child.receipt["new"] == 0
    assert np.isfinite(child.metrics["AP"])
    load_detector(file, "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_learns_the_same(task, kind):
    first, second = (Made(task, relaxation(kind)).run(3) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[2])


def test_two_different_parts_are_compared_in_each_step_however_sure_the_choice_is(task, monkeypatch):
    made, compared = Made(task, relaxation("binary", cost=0.0), epochs=3), []
    decisions = Decisions(START, mixes=False)
    with torch.no_grad():  # the whole start, with all but one hundredth of the probability
        for one, sure in zip(made.shared.logits.tensors(), decisions.one_hot(decisions.whole()), strict=True):
            one.copy_(7 * torch.tensor(sure))
    shared, choose = made.shared, made.shared._paths.choose
    monkeypatch.setattr(shared._paths, "choose", lambda code: (compared.append(code), choose(code)))
    gradients = []
    monkeypatch.setattr(shared, "_apply", gradients.append)
    made.run(6)
    assert len(gradients) == 6
    for step, gradient in enumerate(gradients):
        first, second, _ = compared[3 * step : 3 * step + 3]  # and what computes while the weights are trained
        assert first != second
        assert max(float(one.abs().max()) for one in gradient) > 1e-6


@pytest.mark.parametrize("kind", ["softmax", "binary"])
def test_the_choice_learns_of_the_half_that_the_weights_do_not_see(task, kind):
    made = Made(task, relaxation(kind))
    weights, others = (set(loader.indices) for loader in made.loaders)
    assert not weights & others
    assert len(weights) + len(others) == 24
    swapped = Made(task, relaxation(kind), halves=(1, 0))
    assert torch.equal(made.alpha(), swapped.alpha())
    assert not torch.equal(made.run(1)[0], swapped.run(1)[0])
    images = []
    made = Made(task, relaxation(kind))
    loss = made.shared._loss
    made.shared._loss = lambda batch: images.extend(batch.indices) or loss(batch)
    made.run(3)
    assert images
    assert set(images) <= others


def test_the_sampled_noise_has_no_half_of_its_own(task):
    made = Made(task, relaxation("gumbel"), halves=(None, None))
    assert len(made.loaders[0].indices) == 24
    assert not torch.equal(made.alpha(), made.run(1)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_learnt_of_the_choice_before_the_warm_up_is_over(task, kind):
    made = Made(task, relaxation(kind, warmup=0.5))
    before, steps = made.alpha(), made.trainer.steps
    found = made.run(steps)
    changed = [not torch.equal(one, before) for one in found]
    assert changed.index(True) == -(-steps // 2)
    made = Made(task, relaxation(kind, every=2))
    found = made.run(4)
    assert not torch.equal(made.alpha(), before)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])


def test_with_sampled_parts_a_step_trains_the_tensors_of_one_path(task):
    made = Made(task, relaxation("binary", warmup=0.9))
    before = {name: one.detach().clone() for name, one in made.detector.named_parameters()}
    made.run(1)
    changed = {name for name, one in made.detector.named_parameters() if not torch.equal(one, before[name])}
    drawn = part_of(START, next(iter(made.shared._paths.chosen)))
    used = {f"backbone.blocks.{place}." for place in drawn.block_map}
    of_blocks = {name for name in changed if name.startswith("backbone.blocks.")}
    assert of_blocks
    assert all(name.startswith(tuple(used)) for name in of_blocks)


def test_mixtures_train_every_block_at_once(task):
    made = Made(task, relaxation("softmax"))
    before = {name: one.detach().clone() for name, one in made.detector.named_parameters()}
    made.run(1)
    changed = {name for name, one in made.detector.named_parameters() if not torch.equal(one, before[name])}
    assert {f"backbone.blocks.{place}.conv1.weight" for place in range(len(START.digits))} <= changed
    assert not isinstance(made.detector.backbone, MixedBackbone)


def test_training_the_choice_leaves_the_weights_alone(task):
    for settings in (relaxation("softmax"), relaxation("softmax", second_order=True), relaxation("binary")):
        made = Made(task, settings)
        made.detector.train()
        before = [one.detach().clone() for one in made.detector.parameters()]
        made.shared._step = 4
        made.shared._train_alpha()
        made.shared.restore()
        assert all(torch.equal(one, old) for one, old in zip(made.detector.parameters(), before, strict=True))
        assert all(one.grad is None for one in made.detector.parameters())


def test_the_second_order_differs_from_the_first(task):
    first, second = (Made(task, relaxation("softmax", second_order=order)).run(3)[-1] for order in (False, True))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_heavy_cost_leads_to_cheaper_parts(task, kind):
    form = {"cost_form": "add", "cost": 1e4}
    costly = Made(task, relaxation(kind, cost=0.0, cost_form="add", learning_rate=0.3), epochs=3)
    cheap = Made(task, relaxation(kind, **form, learning_rate=0.3), epochs=3)
    ends = []
    for made in (costly, cheap):
        made.run(made.trainer.steps)
        ends.append(made.shared.receipt()["relaxation"]["expected_multiply_adds"])
    assert ends[1] < 0.97 * ends[0]
