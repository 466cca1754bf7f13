"""Whether measured latencies can be trusted: the order of codes, measured twice, and a bound, checked afterwards."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

import spnas_search
from spnas_core import Architecture, SearchSpace, backbone_cost
from spnas_core.cost import measure_latency
from spnas_search.studies.paths import draw_paths

TITLE = "Latency on this CPU: measured twice"
START = Architecture.parse("b@32_11-21-21-21")
SIZE = (256, 192)
CODES, LIMIT = 30, "1.15x"


def run(_: argparse.Namespace) -> str:
    """Measure codes twice, search under a bound, measure again, and return what came of it."""
    space = SearchSpace(min_blocks=6, max_blocks=14, min_stages=4, max_stages=6, image_size=SIZE)
    codes = [path[-1].child if path else START for path in draw_paths(START, space, CODES, seed=0)]
    base = measure_latency(START, *SIZE).median
    first, second, alone, again = (
        [measure_latency(code, *SIZE, beside=beside).median for code in codes]
        for beside in ((START, base), (START, base), None, None)
    )
    tau = stats.kendalltau(first, second).statistic
    costs = [backbone_cost(code, *SIZE).multiply_adds for code in codes]
    of_cost = stats.kendalltau(costs, second).statistic
    kept, refused, limit = bounded()
    ratio = np.array(second) / np.array(first)
    by_clock = stats.kendalltau(alone, again).statistic
    twice = (
        f"{CODES} codes of {min(first):.1f} to {max(first):.1f} ms at {SIZE[0]}x{SIZE[1]}, each in turn with the "
        f"start, measured twice: Kendall's τ {tau:.3f}, second over first {ratio.min():.2f} to {ratio.max():.2f}. By "
        f"the clock alone: τ {by_clock:.3f}. Multiply-adds against the second measurement: τ {of_cost:.3f}."
    )
    bound = (
        f"A search under max_latency = {LIMIT} ({limit:.2f} ms): {kept} of {kept + refused} children, measured again, "
        "are inside the bound."
    )
    return f"{twice}\n\n{bound}"


def bounded() -> tuple[int, int, float]:
    """Search under a bound; count children that keep it when measured again, and those that do not."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "start": str(START),
            "task": {"name": "null", "image_size": SIZE},
            "space": {"max_latency": LIMIT, "max_multiply_adds": "none", "max_blocks": 14},
            "executor": {"name": "inline"},
            "ranking": "prediction",
            "screen": "none",
            "strategy": {"name": "serial", "max_mutations": 1, "explore": 0.0},
            "final": {"seeds": 0},
        }
        with spnas_search.search(**settings, budget=24, out=Path(folder) / "run") as found:
            assert found.latency is not None
            limit = found.latency.milliseconds()
            children = [child.architecture for child in found.archive.of_kind("child")]
            beside = START, found.latency.meter.of(START).median
    inside = [measure_latency(code, *SIZE, beside=beside).median <= limit for code in children]
    return sum(inside), len(inside) - sum(inside), limit
