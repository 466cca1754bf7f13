"""What spnas-search registers: strategies, executors and commands; and what candidates of its runs are."""

from typing import TYPE_CHECKING

from spnas_core.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from spnas_core.pages import Report
    from spnas_core.tasks import ResolvedCandidate


@hookimpl
def spnas_register_strategies(register: Register) -> None:
    """Both phases, the whole of them, the baselines of comparisons, and strategies that learn."""
    from spnas_search.strategies import (
        Evolution,
        EvolutionSettings,
        FullSettings,
        Generations,
        GenerationsSettings,
        Gradient,
        GradientSettings,
        HillClimb,
        HillClimbSettings,
        Parallel,
        ParallelSettings,
        PhasesSettings,
        Policy,
        PolicySettings,
        Progressive,
        ProgressiveSettings,
        QLearning,
        QLearningSettings,
        RandomSearch,
        RandomSettings,
        RegularizedEvolution,
        RegularizedEvolutionSettings,
        Serial,
        SerialSettings,
        StrategyPlugin,
        any_phases,
        full,
    )

    grown = "swap, expand and add stage on the best so far, and samples; a screen chooses"
    chosen = {"name": "prediction", "draws": 32, "optimism": 1.0}
    register("serial", StrategyPlugin(grown, SerialSettings, Serial, chosen))
    register("parallel", StrategyPlugin("rows beside the stages of the best so far", ParallelSettings, Parallel))
    register(
        "random",
        StrategyPlugin("draw from the whole space, whatever was found; the baseline", RandomSettings, RandomSearch),
    )
    aging = "mutate winners of tournaments among the youngest, of whom the oldest dies"
    register("regularized-evolution", StrategyPlugin(aging, RegularizedEvolutionSettings, RegularizedEvolution))
    pairs = "mutate winners of tournaments; the loser of a pair leaves the population, or nobody does"
    register("evolution", StrategyPlugin(pairs, EvolutionSettings, Evolution))
    bred = "generations of mutants and crossings of the best ever, and some at random"
    register("generations", StrategyPlugin(bred, GenerationsSettings, Generations))
    rewarded = "a network writes codes, or a model chooses rewrites; trained by reinforcement (REINFORCE, PPO)"
    register("policy", StrategyPlugin(rewarded, PolicySettings, Policy))
    valued = "write codes by a table of what each next token is worth, with ever less chance"
    register("q-learning", StrategyPlugin(valued, QLearningSettings, QLearning))
    learnt = "the parts of the start that it has learnt to prefer, as its weights were trained"
    register("gradient", StrategyPlugin(learnt, GradientSettings, Gradient))
    larger = "one block more each time: the most promising expansions of the best"
    register("progressive", StrategyPlugin(larger, ProgressiveSettings, Progressive))
    register("full", StrategyPlugin("serial with reignition, then parallel: the whole of SP-NAS", FullSettings, full))
    register("phases", StrategyPlugin("any strategies, one after the other", PhasesSettings, any_phases))
    register("hill-climb", StrategyPlugin("mutate one network until a child is better", HillClimbSettings, HillClimb))


@hookimpl
def spnas_register_screens(register: Register) -> None:
    """The ranking model, extended to children that do not exist yet; what scores say of codes; what codes alone say."""
    from spnas_search.screens import ScreenPlugin
    from spnas_search.screens.entropy import EntropyScreen, EntropyScreenSettings
    from spnas_search.screens.partial_order import PartialOrderScreen, PartialOrderScreenSettings
    from spnas_search.screens.prediction import PredictionScreen, PredictionScreenSettings
    from spnas_search.screens.surrogate import SurrogateScreen, SurrogateScreenSettings

    register("prediction", ScreenPlugin("what the ranking model predicts", PredictionScreenSettings, PredictionScreen))
    learned = "what a regression on all codes and scores predicts"
    register("surrogate", ScreenPlugin(learned, SurrogateScreenSettings, SurrogateScreen))
    register("entropy", ScreenPlugin("the entropy of untrained features", EntropyScreenSettings, EntropyScreen))
    pruning = "leave out what a trained network rules out"
    register("partial-order", ScreenPlugin(pruning, PartialOrderScreenSettings, PartialOrderScreen))


@hookimpl
def spnas_register_tasks(register: Register) -> None:
    """Tasks without training, for trying out strategies and settings: made-up scores, and those of a table."""
    from spnas_core.tasks import TaskPlugin
    from spnas_search.replay import ReplaySettings
    from spnas_search.testing.null_task import NullSettings

    register(
        "replay", TaskPlugin("train nothing: scores of a table of trainings", ReplaySettings, ReplaySettings.build)
    )

    made_up = "train nothing: made-up scores, for trying out strategies"
    register("null", TaskPlugin(made_up, NullSettings, NullSettings.build, example={}))


@hookimpl
def spnas_register_presets(register: Register) -> None:
    """Searches after the paper."""
    from spnas_core.presets import presets_in

    for name, preset in presets_in("spnas_search"):
        register(name, preset)


@hookimpl
def spnas_register_executors(register: Register) -> None:
    """In this process, in worker processes, or on a cluster."""
    from spnas_search.executors import ExecutorPlugin
    from spnas_search.executors.inline import InlineExecutor
    from spnas_search.executors.processes import ProcessExecutor
    from spnas_search.executors.ray.executor import RayExecutor
    from spnas_search.executors.ray.settings import RaySettings, ray_slots, why_untestable

    inline = ExecutorPlugin("in this process, one after the other", InlineExecutor, most_workers=1, can_time_out=False)
    register("inline", inline)
    register("processes", ExecutorPlugin("in worker processes of this machine", ProcessExecutor))
    on_nodes = "on the nodes of a Ray cluster (extra ray)"
    register("ray", ExecutorPlugin(on_nodes, RayExecutor, RaySettings, slots=ray_slots, untestable=why_untestable))


@hookimpl
def spnas_register_contracts(register: Register) -> None:
    """The suites of strategies, screens and executors."""
    from spnas_search.testing.suites import executor_suite, screen_suite, strategy_suite

    register("strategies", strategy_suite)
    register("screens", screen_suite)
    register("executors", executor_suite)


@hookimpl
def spnas_register_commands(register: Register) -> None:
    """Search, look at runs, and all around; each is a module of ``spnas_search.cli``, imported when it is used."""
    from spnas_core.commands.lazy import LazyCommand

    for name, summary in (
        ("run", "Search a backbone with a STRATEGY (serial where none is named)."),
        ("plan", "Say what a search will take: time, disk and memory, measured on a short probe."),
        ("show", "Draw the network of an architecture CODE, or of a run's candidate, and count what it costs."),
        ("candidates", "List the candidates of a RUN folder; a search may be going on in it."),
        ("runs", "List all runs in and below FOLDER (runs where none is named): their state, and the best of each."),
        ("report", "Write a page about a run, a training or a comparison: one file, which works offline."),
        ("extend", "Raise the budget of the search in RUN, and go on with it."),
        ("retry", "Evaluate failed candidates of RUN again, all or those of the IDs named, and go on with the search."),
        ("verify", "Score the winner of a RUN again, and compare packages, code, weights and data."),
        ("doctor", "Look at versions, devices, kernels, plugins and space, and say what to do."),
        ("study", "Find out what a score is worth before searching by it."),
        ("backbones", "List backbones by name."),
        ("presets", "List presets: what each is for, and on which machine."),
        ("plugins", "List everything that plugins have registered."),
    ):
        register(name, LazyCommand(name, f"spnas_search.cli.{name}:{name}", summary))


@hookimpl
def spnas_resolve_candidate(reference: str) -> "ResolvedCandidate | None":
    """The best or the named candidate of a run folder."""
    from spnas_search.starting_points import resolve_candidate

    return resolve_candidate(reference)


@hookimpl
def spnas_report(reference: str) -> "Report | None":
    """The report of a run."""
    from spnas_search.reports.page import report_run

    return report_run(reference)
