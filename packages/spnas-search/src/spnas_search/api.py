"""The search as one call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spnas_search.monitors import Monitor, Silent
from spnas_search.run import Run, resume_run, start_run
from spnas_search.search import run_search


def search(
    *,
    task: Mapping[str, Any] | str = "detection",
    strategy: Mapping[str, Any] | str = "serial",
    budget: Mapping[str, Any] | int | None = None,
    out: Path | str = "runs/search",
    resume: bool = False,
    monitor: Monitor | None = None,
    **settings: Any,
) -> Run:
    """Search to the end, as ``spnas run`` does.

    Args:
        task: name of a registered task, or its settings table with a ``name``.
        strategy: name of a registered strategy, or its settings table with a ``name``.
        budget: number of children, or the settings table.
        out: folder of the run.
        resume: go on with the run in ``out``; all other settings then come from there.
        monitor: is told what happens; nobody by default.
        settings: any other key of ``run.toml``, such as ``start`` or ``seed``.

    Returns:
        The finished run, open for reading: ``run.archive.winner``; close it, or use it in a ``with`` statement.

    Raises:
        SpnasError: whatever is wrong with the settings or the data, in one line.
    """
    told = monitor or Silent()
    folder = Path(out)
    if resume:
        run = resume_run(folder, _quietly)
    else:
        values: dict[str, Any] = dict(settings)
        values["task"] = {"name": task} if isinstance(task, str) else dict(task)
        values["strategy"] = {"name": strategy} if isinstance(strategy, str) else dict(strategy)
        if budget is not None:
            values["budget"] = {"candidates": budget} if isinstance(budget, int) else dict(budget)
        run = start_run(folder, values, _quietly)
    try:
        run_search(run, told)
    except BaseException:
        run.close()
        raise
    return run


def _quietly(what: str, done: int, total: int) -> None:
    """Report nothing."""
