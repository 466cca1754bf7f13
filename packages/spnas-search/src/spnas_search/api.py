"""The search as one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spnas_core.presets import find_preset
from spnas_search.driver import run_search
from spnas_search.monitors import Monitor, Silent
from spnas_search.run import Run, resume_run, start_run
from spnas_search.settings import over_preset


def search(
    *,
    task: Mapping[str, Any] | str | None = None,
    strategy: Mapping[str, Any] | str | None = None,
    preset: str | None = None,
    budget: Mapping[str, Any] | int | None = None,
    out: Path | str = "runs/search",
    resume: bool = False,
    monitor: Monitor | None = None,
    cache: Path | None = None,
    **settings: Any,
) -> Run:
    """Search to the end, as ``spnas run`` does.

    Args:
        task: name of a registered task, or its settings table with a ``name``; None for ``detection``, or the preset's.
        strategy: name of a registered strategy, or its settings table with a ``name``; None for ``serial``, or the
            preset's.
        preset: name of a registered preset, or a file of one; all other settings go on top.
        budget: number of children, or the settings table.
        out: folder of the run.
        resume: go on with the run in ``out``; all other settings then come from there.
        monitor: is told what happens; nobody by default.
        cache: folder of cached data, where several runs share one; inside ``out`` by default.
        settings: any other key of ``run.toml``, such as ``start`` or ``seed``.

    Returns:
        The finished run, open for reading: ``run.archive.winner``; close it, or use it in a ``with`` statement.

    Raises:
        SpnasError: whatever is wrong with the settings or the data, in one line.
    """
    told = monitor or Silent()
    folder = Path(out)
    if resume:
        run = resume_run(folder, _quietly, cache=cache)
    else:
        values: dict[str, Any] = dict(settings)
        for noun, given in (("task", task), ("strategy", strategy)):
            if given is not None:
                values[noun] = dict(given) if isinstance(given, Mapping) else {"name": given}
        if budget is not None:
            values["budget"] = dict(budget) if isinstance(budget, Mapping) else {"candidates": budget}
        if preset is not None:
            values = over_preset(find_preset(preset), values)
        run = start_run(folder, values, _quietly, cache=cache)
    try:
        run_search(run, told)
    except BaseException:
        run.close()
        raise
    return run


def _quietly(what: str, done: int, total: int) -> None:
    """Report nothing."""
