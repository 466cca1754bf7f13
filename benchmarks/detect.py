"""Training steps and detection, against torchvision's detectors on the same backbone, neck and weights."""

import argparse
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import torchvision_detectors
from pairs import HEAD, compare
from spnas_core import Architecture
from spnas_core.morphisms import identity
from spnas_core.plugins import plugin_manager
from spnas_detect.data import Targets, pad_targets
from spnas_detect.detectors import DetectorSettings, build_detector
from spnas_detect.memory import used_memory

TITLE = "Detectors, against torchvision's"


@dataclass(frozen=True)
class Case:
    """One configuration, the same on both sides."""

    name: str
    code: str
    images: int
    height: int
    width: int
    classes: int
    objects: int  # of each image
    repeats: int
    settings: DetectorSettings

    @property
    def description(self) -> str:
        return f"{self.name}, {self.images} images of {self.height}×{self.width}"


TINY = Case(
    name="`b@16_1-2-2-2`, 64 RoIs",
    code="b@16_1-2-2-2",
    images=16,
    height=160,
    width=160,
    classes=4,
    objects=8,
    repeats=9,
    settings=DetectorSettings(
        neck_channels=64,
        head_channels=128,
        anchor_scales=(8.0,),
        aspect_ratios=(0.5, 1.0, 2.0),
        rpn_proposals=2000,
        rpn_candidates=2000,
        rpn_samples=256,
        box_samples=64,
        pooled_size=7,
        sampling_ratio=2,
        finest_size=56,
        max_detections=100,
        score_threshold=0.05,
    ),
)
RESNET50 = Case(
    name="ResNet-50 with FPN, 512 RoIs",
    code="r_111-2111-211111-211",
    images=2,
    height=800,
    width=1216,
    classes=80,
    objects=10,
    repeats=3,
    settings=DetectorSettings(
        neck_channels=256,
        head_channels=1024,
        anchor_scales=(8.0,),
        aspect_ratios=(0.5, 1.0, 2.0),
        rpn_proposals=2000,
        rpn_candidates=2000,
        rpn_samples=256,
        box_samples=512,
        pooled_size=7,
        sampling_ratio=2,
        finest_size=56,
        max_detections=100,
        score_threshold=0.05,
    ),
)
RETINA = Case(
    name="RetinaNet on `b@16_1-2-2-2`",
    code="b@16_1-2-2-2",
    images=16,
    height=160,
    width=160,
    classes=4,
    objects=8,
    repeats=9,
    settings=DetectorSettings(
        detector="retinanet",
        neck_channels=64,
        anchor_scales=(4.0, 5.04, 6.35),
        aspect_ratios=(0.5, 1.0, 2.0),
        max_detections=100,
        score_threshold=0.05,
    ),
)
CASES = (TINY, RETINA, RESNET50)


def detector_of(case: Case, is_ours: bool) -> nn.Module:
    """The case's detector with our heads or torchvision's, with the same weights."""
    if not plugin_manager().is_registered(torchvision_detectors):
        plugin_manager().register(torchvision_detectors)
    name = case.settings.detector if is_ours else torchvision_detectors.PEERS[case.settings.detector]
    settings = case.settings.model_copy(update={"detector": name})
    generator = torch.Generator().manual_seed(0)
    rewrite = identity(Architecture.parse(case.code))
    return build_detector(rewrite, case.classes, settings, {}, generator=generator)[0]


def batch_of(case: Case) -> tuple[Tensor, Targets]:
    """Noise, with boxes between an eighth and a half of the image's height."""
    generator = torch.Generator().manual_seed(0)
    size = torch.tensor([case.width, case.height])
    targets = []
    for _ in range(case.images):
        sides = (0.125 + 0.375 * torch.rand(case.objects, 2, generator=generator)) * case.height
        corners = torch.rand(case.objects, 2, generator=generator) * (size - sides)
        labels = torch.randint(1, case.classes + 1, (case.objects,), generator=generator)
        targets.append({"boxes": torch.cat([corners, corners + sides], 1), "labels": labels})
    images = torch.randn(case.images, 3, case.height, case.width, generator=generator)
    return images, pad_targets(targets, [(case.height, case.width)] * case.images)


def step_of(
    case: Case, is_ours: bool, layout: torch.memory_format, device: str = "cpu", *, bfloat16: bool = False
) -> Callable[[], None]:
    """One training step: losses (under autocast, where in bfloat16), gradients, SGD."""
    module = detector_of(case, is_ours).to(device, memory_format=layout).train()
    images, targets = batch_of(case)
    images, targets = images.to(device, memory_format=layout), targets.to(torch.device(device))
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-4, momentum=0.9)
    generator = torch.Generator(device).manual_seed(0)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            losses = module.losses(images, targets, generator=generator)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()

    return step


def detection_of(case: Case, is_ours: bool) -> Callable[[], None]:
    """Detection in a batch, the detections of each image as lists at the end."""
    module = detector_of(case, is_ours).to(memory_format=torch.channels_last).eval()
    images = batch_of(case)[0].contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def detect() -> None:
        module.detect(images).images()

    return detect


def shares(step: Callable[[], None], steps: int) -> str:
    """Per cent of a step's CPU time in RoIAlign, in NMS and in convolutions, forward and backward."""
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        for _ in range(steps):
            step()
    times = {event.key: event.self_cpu_time_total for event in trace.key_averages()}
    total = sum(times.values())

    def share(*parts: str) -> str:
        return f"{100 * sum(time for key, time in times.items() if any(part in key for part in parts)) / total:.1f} %"

    return f"{share('roi_align')} | {share('nms')} | {share('conv')}"


def peak_memory(case: Case, is_ours: bool) -> int:
    """Bytes that two steps add to the largest resident size of a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (case.name, is_ours))


def _peak(name: str, is_ours: bool) -> int:
    case = next(case for case in CASES if case.name == name)
    step = step_of(case, is_ours, torch.channels_last)
    before = used_memory(torch.device("cpu"))
    step()
    step()
    return used_memory(torch.device("cpu")) - before


def run(_: argparse.Namespace) -> str:
    """Measure with all threads and return the tables."""
    rows, memory, profiles = [], [], []
    for case in CASES:
        for layout, title in ((torch.channels_last, "channels-last"), (torch.contiguous_format, "NCHW")):
            if case is RESNET50 and layout is torch.contiguous_format:
                continue  # half a minute a pair, and both sides are faster in channels-last
            rows.append(
                compare(
                    f"training step, {case.description}, {title}",
                    step_of(case, True, layout),
                    step_of(case, False, layout),
                    repeats=case.repeats,
                )
            )
        if case is not RESNET50:
            rows.append(
                compare(
                    f"detection, {case.description}",
                    detection_of(case, True),
                    detection_of(case, False),
                    repeats=case.repeats,
                )
            )
        ours, theirs = (peak_memory(case, is_ours) / 2**20 for is_ours in (True, False))
        memory.append(f"| {case.description} | {ours:.0f} MiB | {theirs:.0f} MiB |")
    for side, is_ours in (("ours", True), ("theirs", False)):
        profiles.append(f"| {side} | {shares(step_of(TINY, is_ours, torch.channels_last), 5)} |")
    parts = [
        "\n".join([HEAD, *map(str, rows)]),
        "Memory that two training steps add to a fresh process, channels-last:",
        "\n".join(["| | ours | theirs |", "|---|---|---|", *memory]),
        f"Share of a training step's CPU time in operators, {TINY.description}:",
        "\n".join(["| | RoIAlign | NMS | convolutions |", "|---|---|---|---|", *profiles]),
    ]
    return "\n\n".join(parts)
