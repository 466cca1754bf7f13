"""Does it pay to calibrate the norms of pass-through projections? Children with and without, after 0 and 1 epochs."""

import argparse
import tempfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

from inheritance import cell
from spnas_core import Architecture, Rewrite
from spnas_core.morphisms import AddStage, Swap, identity
from spnas_core.networks import block_placements
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_detect.settings import DetectionSettings
from spnas_detect.task import DetectionTask
from spnas_search.executors import ExecutorSettings, evaluate_all
from spnas_search.executors.processes import ProcessExecutor

TITLE = "Calibrating pass-through projections"
START = "b@8_11-21-21-21"
PARENT_EPOCHS = 14
METRIC = "AP50"
WORKERS = 2


def children() -> list[Rewrite]:
    """Every single swap that gives a block a projection which it did not have, and one more stage."""
    parent = Architecture.parse(START)
    before = {p.index for p in block_placements(parent) if p.layers[-1].name == "projection"}

    def gains_projection(rewrite: Rewrite) -> bool:
        placements = block_placements(rewrite.child)
        return any(p.layers[-1].name == "projection" and p.index not in before for p in placements)

    return [*filter(gains_projection, Swap(max_step=1).options(parent)), *AddStage().options(parent)]


def run(_: argparse.Namespace) -> str:
    """Train the parent, then score the children and return the table."""
    settings = DetectionSettings()
    found: dict[tuple[int, int, bool], float] = {}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "parent.safetensors"
        request = EvaluationRequest(
            0, identity(Architecture.parse(START)), None, weights, Fidelity(PARENT_EPOCHS), seed=1
        )
        rewrites = children()
        for calibrate in (True, False):
            task = DetectionTask(settings.model_copy(update={"calibrate": calibrate}))
            task.prepare(Path(folder), lambda *_: None)
            with ProcessExecutor(ExecutorSettings(), task, WORKERS, lambda _: None) as executor:
                if not weights.exists():
                    list(evaluate_all(executor, [request]))
                heir = replace(request, parent_weights=weights, weights=None)
                requests = [
                    replace(heir, candidate=2 * index + epochs, rewrite=rewrite, fidelity=Fidelity(epochs))
                    for (index, rewrite), epochs in product(enumerate(rewrites), (0, 1))
                ]
                for outcome in evaluate_all(executor, requests):
                    if outcome.evaluation is None:
                        raise RuntimeError(outcome.trace or outcome.reason)
                    index, epochs = divmod(outcome.request.candidate, 2)
                    found[index, epochs, calibrate] = outcome.evaluation.metrics[METRIC]
    columns = list(product((0, 1), (False, True)))
    rows = [
        f"| {cell(r)} | " + " | ".join(f"{found[i, epochs, calibrate]:.3f}" for epochs, calibrate in columns) + " |"
        for i, r in enumerate(rewrites)
    ]
    means = [fmean(found[i, epochs, calibrate] for i in range(len(rewrites))) for epochs, calibrate in columns]
    return "\n".join(
        [
            f"{METRIC} of children of `{START}` ({PARENT_EPOCHS} epochs): γ = 1, β = 0 against γ = σ, β = μ.",
            "",
            "| child | as it is, 0 epochs | calibrated | as it is, 1 epoch | calibrated |",
            "|---|---|---|---|---|",
            *rows,
            "| **mean** | " + " | ".join(f"**{mean:.3f}**" for mean in means) + " |",
        ]
    )
