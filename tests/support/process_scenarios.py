"""What two processes do together in tests; each returns plain values for the test to judge.

Detection is imported where it is needed: that takes longer than what is tried.
"""

import os
import signal
import time
from pathlib import Path

import torch
from threads import THREADS
from torch import nn

from spnas_core.errors import DataError, EvaluationError
from spnas_detect.processes import joined_processes

BATCH = torch.arange(4 * 3 * 5 * 5, dtype=torch.float32).reshape(4, 3, 5, 5).cos()

TRAININGS = {
    "frozen": {"norm": "frozen", "optimizer": "sgd", "epochs": 4},
    "adamw": {"norm": "frozen", "epochs": 4},
    "sync": {"norm": "sync", "optimizer": "sgd", "epochs": 4},
    "accumulate": {"norm": "group", "accumulate": 2, "epochs": 4},
}
"""24 steps each, of 4 images that two processes share."""


def sync_norm(batch):
    """Train a norm on a batch; outputs, input gradients, weight gradients and statistics."""
    from spnas_detect.training import convert_norms

    torch.manual_seed(0)
    module = convert_norms(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), "sync")
    inputs = batch.clone().requires_grad_()
    outputs = module(inputs)
    outputs.sin().sum().backward()
    gradient = module[1].weight.grad
    statistics = [module[1].running_mean, module[1].running_var, module[1].num_batches_tracked]
    return [tensor.tolist() for tensor in (outputs, inputs.grad, gradient, *statistics)]


PARTLY_READ = ("b@4_1-2-2", "trident(b@4_1-2-2)", "cb2(b@4_1-2-2)", "torchvision:shufflenet_v2_x0_5")

IDLE_NECKS = (
    "merge:m@0=in0+in1;o0@0=in0+in1;o1@1=in1+o0;o2@2=in2+o1",
    "merge:o0@0=in0+in1;o1@1=in1+o0;o2@2=o1+o0",
)
"""Cells of three levels: one with a merge that nothing reads, one that does not read all features."""


def partly_read(name, split, processes, neck="fpn", levels=("s1", "s2")):
    """Train a detector whose neck leaves something out, such as the last stages of its backbone; the steps made."""
    from tiny_training import losses_of, make_trainer

    from spnas_core.backbones import read_network, unchanged
    from spnas_detect.detectors import DetectorSettings, build_detector
    from spnas_detect.training import freeze_inherited

    settings = DetectorSettings(detector="retinanet", levels=levels, neck=neck, neck_channels=8, tower_depth=1)
    generator = torch.Generator().manual_seed(0)
    detector, plan, _ = build_detector(unchanged(read_network(name)), 4, settings, {}, generator=generator)
    freeze_inherited(detector, plan, "batch", None)
    return len(losses_of(make_trainer(split, detector=detector, processes=processes, epochs=1)))


def without_gradients(split, processes):
    """Train a detector of whose layers the losses leave one out, behind one that is frozen; what is said of it."""
    from tiny_training import TinyDetector, losses_of, make_trainer

    detector = TinyDetector()
    detector.head.bias.requires_grad_(False)
    detector.spare = nn.Conv2d(1, 1, 1)
    try:
        losses_of(make_trainer(split, detector=detector, processes=processes, epochs=1))
    except EvaluationError as error:
        return str(error)
    return "no error"


def stopping(trainer, processes):
    """Stop when the second process wants to, in its fifth step."""
    trainer.run(lambda _: None, stop=lambda: processes.rank == 1 and trainer.step == 4)
    return [trainer.step, trainer.was_stopped]


def diverging(trainer, processes):
    """Break the images of the second process in the third step."""
    losses = trainer.detector.losses

    def broken(images, targets, *, generator=None):
        if processes.rank == 1 and trainer.step == 2:
            images = images * float("nan")
        return losses(images, targets, generator=generator)

    trainer.detector.losses = broken
    try:
        trainer.run(lambda _: None)
    except EvaluationError as error:
        return str(error)
    return "no error"


LONGEST = 60
"""Seconds until a disk that waits for the other process gives up."""


def with_a_slow_disk(trainer, processes, folder):
    """Train with a checkpoint after each step, of which none is written before the second process is through."""
    from spnas_detect.training import CheckpointWriter, checkpoint, snapshot

    through, write = Path(folder, "through"), checkpoint.write_tensors

    def slow(*arguments):
        until = time.monotonic() + LONGEST
        while not through.exists():
            if time.monotonic() > until:
                raise EvaluationError("the other process waits for the disk")
            time.sleep(0.01)  # between two looks: another process has no event to wait for
        write(*arguments)

    checkpoint.write_tensors = slow
    try:
        with CheckpointWriter(folder) as writer:
            trainer.run(lambda _: None, after_step=lambda: writer.save(snapshot(trainer)))
            if not processes.is_first:
                through.touch()
    finally:
        checkpoint.write_tensors = write
    return trainer.step


def scored(split, processes):
    """Score an untrained detector in batches of three images; all numbers that are defined, and the boxes in order."""
    from spnas_core.encoding import Architecture
    from spnas_core.morphisms import identity
    from spnas_detect.detectors import DetectorSettings, build_detector
    from spnas_detect.inference.evaluation import _Recorder
    from spnas_detect.metrics import CocoMetric
    from spnas_detect.training import score

    start, settings = identity(Architecture.parse("b@4_1-2")), DetectorSettings(neck_channels=8)
    detector, _, _ = build_detector(start, 4, settings, {}, generator=torch.Generator().manual_seed(0))
    recorder, told = _Recorder(), []
    scores = score(
        detector, split, [CocoMetric("abcd"), recorder], batch_size=3, device=torch.device("cpu"), processes=processes,
        tell=lambda done, total: told.append([done, total]),
    )  # fmt: skip
    boxes = [prediction["boxes"].tolist() for prediction in recorder.predictions]
    return [{name: value for name, value in scores.items() if value == value}, boxes, told]


def alike(processes):
    """What a tensor is while the first process's is wanted, and behind it."""
    own = torch.tensor([float(processes.rank)])
    with processes.alike([own]):
        shared = own.tolist()
    return [shared, own.tolist()]


def everything(cache):
    """All that is tried in one pair of processes, for starting them takes the time."""
    from tiny_training import losses_of, make_trainer

    from spnas_detect.data import open_cache
    from spnas_detect.heads.normalisation import global_draw, normaliser

    torch.set_num_threads(THREADS)
    split = open_cache(cache).split("train")
    with joined_processes("cpu") as processes:
        generator = torch.Generator().manual_seed(3)
        count = torch.tensor(3 if processes.is_first else 5)
        found = {
            "rank": processes.rank,
            "normaliser": normaliser(count).item(),
            "nothing": normaliser(torch.tensor(0)).item(),
            "untouched": count.item(),
            "noise": global_draw((2, 7), generator, torch.device("cpu")).tolist(),
            "norm": sync_norm(BATCH[2 * processes.rank : 2 * processes.rank + 2]),
            "gathered": [tensor.tolist() for tensor in processes.gather(torch.tensor([processes.rank]))],
        }
        found["scored"], found["alike"] = scored(split, processes), alike(processes)
        for name, settings in TRAININGS.items():
            trainer = make_trainer(split, processes=processes, **settings)
            found[name] = losses_of(trainer)
            weights = [parameter.detach().flatten() for parameter in trainer.detector.parameters()]
            found[f"{name} weights"] = torch.cat(weights).tolist()
        found["partly read"] = {name: partly_read(name, split, processes) for name in PARTLY_READ}
        found["idle necks"] = [partly_read(PARTLY_READ[0], split, processes, neck, None) for neck in IDLE_NECKS]
        found["stopping"] = stopping(make_trainer(split, processes=processes, norm="frozen"), processes)
        disk = make_trainer(split, processes=processes, norm="frozen", epochs=1)
        found["slow disk"] = with_a_slow_disk(disk, processes, cache.parent)
        found["diverging"] = diverging(make_trainer(split, processes=processes, norm="frozen"), processes)
        found["without gradients"] = without_gradients(split, processes)  # the last one: its processes have parted
    return found


def ending(how):
    """End the second process in some way, while the first one waits for it."""
    with joined_processes("cpu") as processes:
        tensor = torch.ones(1)
        processes.mean_(tensor)
        if processes.rank == 1:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("the second process has met a mistake")
        while True:
            processes.mean_(tensor)
            time.sleep(0.05)


def told_alone():
    """The second process is told to end, by somebody who has not told the agent; the first one ends much later."""
    if os.environ["RANK"] == "0":
        time.sleep(5)  # stands in for the writing of a checkpoint, and has to outlast LEAVING_SECONDS
        return [0]
    signal.signal(signal.SIGTERM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)
    return [1]


PASSED_ON_WITHIN = 20
"""Seconds until a process that waits for a signal gives up."""


def signalled(ignored, heeded):
    """Send signals to the process that has started these.

    Returns which are ignored here, what is passed on to here, and when that was waited for no longer.

    What is passed on comes at once: ignored signals have a second for it, behind which the heeded one is sent.
    """
    stay_ignored = [signal.getsignal(number) is signal.SIG_IGN for number in ignored]
    passed = []
    for number in (*ignored, heeded):
        signal.signal(number, lambda number, _: passed.append(int(number)))
    is_first = os.environ["RANK"] == "0"
    for number in ignored if is_first else ():
        os.kill(os.getppid(), number)
    time.sleep(1)  # nothing is waited for: what is ignored never comes
    if is_first:
        os.kill(os.getppid(), heeded)
    until = time.monotonic() + PASSED_ON_WITHIN
    while heeded not in passed and time.monotonic() < until:
        time.sleep(0.01)  # between two looks; ends by the deadline
    return [stay_ignored, passed, time.monotonic()]


def torchrun(folder):
    """Write who this process is."""
    with joined_processes("cpu") as processes:
        mean = processes.mean_(torch.tensor([float(processes.rank)])).item()
        Path(folder, f"rank-{processes.rank}").write_text(f"{processes.rank} of {processes.count}, mean {mean}")
