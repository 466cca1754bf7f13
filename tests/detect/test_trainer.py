import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import SHAPES, TinyDetector, losses_of, make_trainer

from spnas_core.errors import EvaluationError
from spnas_detect.data import build_cache, open_data
from spnas_detect.jobs.monitor import WINDOW, Speedometer
from spnas_detect.memory import asked_memory, available_memory, gibibytes, used_memory
from spnas_detect.training import StepRecord, TrainingSettings
from spnas_detect.training.interruption import StopOnSignal
from spnas_detect.training.scalars import Scalars, read_scalars


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    data = open_data("shapes", seed=0, **SHAPES)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64)).split("train")


def test_the_same_seed_trains_the_same_and_another_another(split):
    assert losses_of(make_trainer(split)) == losses_of(make_trainer(split))
    assert losses_of(make_trainer(split)) != losses_of(make_trainer(split, seed=1))


def test_training_lowers_the_losses(split):
    losses = [sum(step.values()) for step in losses_of(make_trainer(split, epochs=8))]
    assert sum(losses[-6:]) < 0.7 * sum(losses[:6])


def test_drops_before_the_end_are_counted_in_the_trainings_own_epochs(split):
    for epochs in (4, 8):
        trainer = make_trainer(split, epochs=epochs, schedule="step", drops=(-2, -1), warmup_steps=0)
        rates = [trainer.rate_at(step) / trainer.learning_rate for step in range(0, trainer.steps, 6)]
        assert rates == pytest.approx([1.0] * (epochs - 2) + [0.1, 0.01])


class WholeBatchMean(TinyDetector):
    """Every image counts the same, so the mean of two halves is the mean of the whole."""

    def losses(self, images, targets, *, generator=None):
        found = self.head(self.backbone(images)).flatten(1).mean(1)
        return {"loss_count": (found - (targets.labels > 0).sum(1)).square().mean()}


def test_accumulated_parts_make_the_step_of_the_whole_batch_where_images_count_the_same(split):
    runs = []
    for accumulate in (1, 2, 4):
        trainer = make_trainer(split, accumulate=accumulate, norm="frozen", optimizer="sgd")
        trainer.detector.__class__ = WholeBatchMean
        runs.append(losses_of(trainer))
        assert trainer.steps_per_epoch == 6
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            assert one["loss_count"] == pytest.approx(other["loss_count"], rel=1e-4, abs=1e-6)


def test_parts_that_make_no_whole_step_are_left_out(split):
    trainer = make_trainer(split, batch_size=12, accumulate=3, epochs=2)
    assert len(trainer.loader) == 6
    assert trainer.steps_per_epoch == 2
    assert len(losses_of(trainer)) == 4


def test_the_learning_rate_grows_with_the_batch():
    settings = TrainingSettings(batch_size=32, base_batch_size=8, learning_rate=0.01, finetune_learning_rate=0.002)
    assert settings.peak_learning_rate(inherits=False) == pytest.approx(0.04)
    assert settings.peak_learning_rate(inherits=True) == pytest.approx(0.008)
    assert TrainingSettings(batch_size=32).peak_learning_rate(inherits=False) == TrainingSettings().learning_rate


def test_clipping_bounds_the_gradient(split):
    trainer = make_trainer(split, clip_norm=1e-3, epochs=1)
    trainer.run(lambda _: None)
    gradients = [parameter.grad for parameter in trainer.detector.parameters()]
    assert torch.cat([gradient.flatten() for gradient in gradients]).norm() <= 1e-3 * 1.001


def test_bfloat16_computes_the_losses_in_half_precision(split):
    seen = []
    trainer = make_trainer(split, precision="bfloat16", epochs=1)
    trainer.detector.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    losses = losses_of(trainer)
    assert set(seen) == {torch.bfloat16}
    assert all(math.isfinite(value) for step in losses for value in step.values())
    assert {parameter.dtype for parameter in trainer.detector.parameters()} == {torch.float32}


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(split):
    trainer = make_trainer(split)
    losses = trainer.detector.losses

    def broken(images, targets, *, generator=None):
        factor = math.inf if trainer.step == 4 else 1.0
        return {name: loss * factor for name, loss in losses(images, targets, generator=generator).items()}

    trainer.detector.losses = broken
    images = [split.names[index] for index in trainer.loader.order(0)[16:20]]
    with pytest.raises(EvaluationError) as caught:
        trainer.run(lambda _: None)
    message = str(caught.value)
    assert message.startswith("the loss is not finite at step 5 of 18: loss_count inf, loss_size inf; images ")
    assert f"images {', '.join(images)}; last finite losses, at step 4: loss_count " in message
    assert all(bool(parameter.isfinite().all()) for parameter in trainer.detector.parameters())


def test_the_first_step_may_be_the_one_that_is_not_finite(split):
    trainer = make_trainer(split)
    trainer.detector.losses = lambda *_, **__: {"loss": trainer.detector.head.weight.sum() * math.nan}
    with pytest.raises(EvaluationError, match=r"at step 1 of 18: loss nan; images .*; no step before it had finite"):
        trainer.run(lambda _: None)


CUDA_MESSAGE = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.20 GiB is free."
)


CPU_MESSAGE = "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 3221225472 bytes."


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (torch.OutOfMemoryError(CUDA_MESSAGE), "2.50 GiB"),
        (RuntimeError(CPU_MESSAGE), "3.00 GiB"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 2.50 GiB. The GPU has 1.20 of 79.11 GiB free"),
            "2.50 GiB",
        ),
        (RuntimeError("out of memory: you tried to allocate 3221225472 bytes"), "3.00 GiB"),
        (RuntimeError("CUDA error: out of memory"), "an unknown amount"),
        (RuntimeError("std::bad_alloc"), "an unknown amount"),
        (MemoryError(), "an unknown amount"),
    ],
)
def test_a_batch_that_does_not_fit_says_what_was_asked_what_there_is_and_what_to_lower(split, error, asked):
    trainer = make_trainer(split)

    def too_large(*_, **__):
        raise error

    trainer.detector.losses = too_large
    with pytest.raises(EvaluationError) as caught:
        trainer.run(lambda _: None)
    message = str(caught.value)
    assert message.startswith(
        f"4 images of 64x64 at a time do not fit in the memory of cpu: {asked} more were asked for, "
    )
    assert available_memory(torch.device("cpu")).partition(" of ")[2] in message
    assert message.endswith("; raise training.accumulate (now 1), or lower training.batch_size or --image-size")


def test_the_cpus_own_complaint_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert asked_memory(caught.value) == "1073741824.00 GiB"
    assert asked_memory(RuntimeError("shapes differ")) is None
    assert gibibytes(3 << 19) == "1.5 MiB"
    assert 2**20 < used_memory(torch.device("cpu")) < 2**40


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux hands the value on")
def test_used_memory_is_not_that_of_the_process_that_started_this_one():
    ballast = torch.ones(2**28)  # 1 GiB
    count = "import torch; from spnas_detect.memory import used_memory; print(used_memory(torch.device('cpu')))"
    child = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert int(child.stdout) < ballast.nbytes


def test_other_errors_of_a_detector_stay_what_they_are(split):
    trainer = make_trainer(split)
    trainer.detector.losses = lambda *_, **__: torch.ones(2) @ torch.ones(3)
    with pytest.raises(RuntimeError, match="inconsistent tensor size"):
        trainer.run(lambda _: None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_after_the_step_and_handlers_are_put_back(split, number):
    before = signal.getsignal(number)
    trainer = make_trainer(split)
    with StopOnSignal() as stop:
        trainer.run(lambda record: os.kill(os.getpid(), number) if record.step == 3 else None, stop=stop)
    assert trainer.was_stopped
    assert trainer.step == 4
    assert stop.received == number
    assert signal.getsignal(number) == before


def test_a_second_signal_ends_at_once():
    with StopOnSignal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_end_of_a_terminal_that_is_told_twice_still_stops_after_the_step():
    with StopOnSignal() as stop:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
    assert stop.received == signal.SIGHUP


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.gpu
def test_a_step_on_a_gpu_makes_the_host_wait_for_nothing_and_reports_it_a_step_late(split):
    trainer = make_trainer(split, ema_decay=0.9, device="cuda")
    seen = []
    batches = list(trainer.loader.epoch(0))
    trainer._advance(0, batches[:1], None)  # allocates, chooses kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches[1:]:
            seen += [record.step for record in trainer._advance(0, [batch], None)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert seen == [1, 2, 3, 4, 5]
    trainer.flush(lambda record: seen.append(record.step))
    assert seen[-1] == 6


def test_scalars_go_on_from_the_checkpoints_step(tmp_path):
    with Scalars(tmp_path) as scalars:
        for step in range(1, 5):
            scalars.add(step, {"loss": 1 / step, "undefined": math.nan})
    with (tmp_path / "scalars.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert [row["step"] for row in read_scalars(tmp_path)] == [1, 2, 3, 4]
    with Scalars(tmp_path, step=2) as scalars:
        scalars.add(3, {"loss": 7.0})
    assert [(row["step"], row["loss"]) for row in read_scalars(tmp_path)] == [(1, 1.0), (2, 0.5), (3, 7.0)]
    assert json.loads((tmp_path / "scalars.jsonl").read_text().splitlines()[0])["undefined"] is None


def test_tensorboard_reads_the_same_numbers(tmp_path):
    loading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with Scalars(tmp_path) as scalars:
        for step in (1, 2):
            scalars.add(step, {"loss": 0.5 * step})
    board = loading.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in board.Scalars("loss")] == [(1, 0.5), (2, 1.0)]


def test_speed_is_measured_over_the_last_steps():
    now = [0.0]
    speedometer = Speedometer(lambda: 7, lambda: now[0])
    assert speedometer.measure(StepRecord(1, 200, 0, 0.1, 8)).images_per_second is None
    for step in range(2, 101):
        now[0] += 4.0 if step < 20 else 0.5  # the first steps are slow
        speed = speedometer.measure(StepRecord(step, 200, 0, 0.1, 8))
    assert WINDOW < 80
    assert speed.images_per_second == pytest.approx(16)
    assert speed.seconds_left == pytest.approx(50)
    assert speed.memory == 7
