"""Everything that a plugin can add to spnas or listen to: this file is the contents page.

A plugin is a module (or object) named by an entry point in the group ``spnas``; it implements any of these hooks:

    import spnas_core

    @spnas_core.hookimpl
    def spnas_register_blocks(register):
        register("mine", MyBlockSpec())

Where a name is taken, or an item is not of its hook's kind, that item is left out and the plugin reported as broken.
The built-in blocks, tasks, strategies, … come in through the same hooks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pluggy

PROJECT = "spnas"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Register = Callable[[str, Any], None]


@hookspec
def spnas_register_blocks(register: Register) -> None:
    """Add residual block types; an item is a ``spnas_core.blocks.BlockSpec``, or a ``BlockFamily`` of such."""


@hookspec
def spnas_register_stems(register: Register) -> None:
    """Add stems; an item is a ``spnas_core.stems.StemSpec``."""


@hookspec
def spnas_register_backbones(register: Register) -> None:
    """Add sources of networks by name, ``NAME:…`` in place of a code; an item is a ``BackboneProvider``.

    See ``spnas_core.backbones``.
    """


@hookspec
def spnas_register_morphisms(register: Register) -> None:
    """Add rewrites of architectures; an item is a ``spnas_core.morphisms.Morphism``."""


@hookspec
def spnas_register_strategies(register: Register) -> None:
    """Add search strategies; an item is a ``spnas_search.strategies.StrategyPlugin`` (settings model and factory)."""


@hookspec
def spnas_register_screens(register: Register) -> None:
    """Add screens, which choose among children before training; an item is a ``spnas_search.screens.ScreenPlugin``."""


@hookspec
def spnas_register_tasks(register: Register) -> None:
    """Add tasks that train and score candidates; an item is a ``spnas_core.tasks.TaskPlugin``."""


@hookspec
def spnas_register_executors(register: Register) -> None:
    """Add places where evaluations run; an item is a ``spnas_search.executors.ExecutorPlugin``."""


@hookspec
def spnas_register_datasets(register: Register) -> None:
    """Add data set formats, named before the colon in ``--data``; an item is a ``spnas_detect.data.Reader``."""


@hookspec
def spnas_register_necks(register: Register) -> None:
    """Add necks between backbone and heads; an item is a ``spnas_detect.necks.NeckFactory``."""


@hookspec
def spnas_register_detectors(register: Register) -> None:
    """Add detectors; an item is a ``spnas_detect.detectors.DetectorFactory``."""


@hookspec
def spnas_register_metrics(register: Register) -> None:
    """Add metrics; an item is a ``spnas_detect.metrics.MetricFactory``."""


@hookspec
def spnas_register_presets(register: Register) -> None:
    """Add presets, settings under a name; an item is a ``spnas_core.presets.Preset``, and ``presets_in`` finds them."""


@hookspec
def spnas_register_exporters(register: Register) -> None:
    """Add formats that networks are exported to; an item is a ``spnas_core.exporting.ExporterPlugin``."""


@hookspec
def spnas_register_contracts(register: Register) -> None:
    """Add suites that ``spnas plugins check`` runs, each under a noun such as ``strategies``.

    An item is called with the name and the item to check, and returns a suite: an object whose methods ``test_…`` raise
    what is wrong; or it raises ``spnas_core.testing.NoSuiteError``.
    """


@hookspec
def spnas_register_commands(register: Register) -> None:
    """Add sub-commands of ``spnas``; an item is a ``click.Command``.

    Where importing it takes long, register a ``spnas_core.commands.lazy.LazyCommand`` in its place: lists of commands
    ask for its name and summary alone.
    """


@hookspec(firstresult=True)
def spnas_resolve_candidate(reference: str) -> Any:
    """Say what ``RUN`` (its best candidate) or ``RUN:ID`` stands for: a ``spnas_core.tasks.ResolvedCandidate``.

    Commands that take trained weights ask here, since they know no archive. None where ``reference`` names no run: the
    next plugin is asked. A run that lacks the candidate is an ArchiveError.
    """


@hookspec(firstresult=True)
def spnas_report(reference: str) -> Any:
    """Report on a folder: a ``spnas_core.pages.Report``, from which ``spnas report`` makes its page.

    None where ``reference`` names no folder that the plugin knows: the next plugin is asked. One that it knows and
    cannot read is a SpnasError that says so.
    """


@hookspec
def spnas_report_sections(folder: Path) -> Any:
    """Add to the report of a folder, whoever reports on it: a list of ``spnas_core.pages.Section``, or None."""


@hookspec
def spnas_run_started(run: Any) -> None:
    """Called once before the first evaluation, also on resume; ``run`` is a ``spnas_search.Run``.

    A listener only listens: what it raises is reported under the plugin's name, and the search goes on.
    """


@hookspec
def spnas_candidate_finished(run: Any, candidate: Any) -> None:
    """Called after each evaluation is in the archive; ``candidate`` is a ``spnas_search.archive.Candidate``."""


@hookspec
def spnas_run_finished(run: Any) -> None:
    """Called when a search has come to its end; not when it is killed."""
