"""What spnas-search registers: strategies and executors; and what candidates of its runs are."""

from spnas_core.hookspecs import Register, hookimpl
from spnas_core.tasks import ResolvedCandidate


@hookimpl
def spnas_register_strategies(register: Register) -> None:
    """The serial phase and the random baseline."""
    from spnas_search.strategies import RandomSettings, RandomWalk, Serial, SerialSettings, StrategyPlugin

    register("serial", StrategyPlugin("swap, expand and add stage on the best so far", SerialSettings, Serial))
    register("random", StrategyPlugin("mutate any earlier candidate; the baseline", RandomSettings, RandomWalk))


@hookimpl
def spnas_register_tasks(register: Register) -> None:
    """The null task: a search of milliseconds, for trying out strategies and settings."""
    from spnas_core.tasks import TaskPlugin
    from spnas_search.testing.null_task import NullSettings

    register(
        "null", TaskPlugin("train nothing: made-up scores, for trying out strategies", NullSettings, NullSettings.build)
    )


@hookimpl
def spnas_register_executors(register: Register) -> None:
    """In this process, or in worker processes."""
    from spnas_search.executors.inline import InlineExecutor
    from spnas_search.executors.processes import ProcessExecutor

    register("inline", InlineExecutor)
    register("processes", ProcessExecutor)


@hookimpl
def spnas_resolve_candidate(reference: str) -> ResolvedCandidate | None:
    """The best or the named candidate of a run folder."""
    from spnas_search.starting_points import resolve_candidate

    return resolve_candidate(reference)
