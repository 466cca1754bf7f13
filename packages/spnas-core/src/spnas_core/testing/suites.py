"""The suites of this package over an item that was registered, for ``spnas plugins check``."""

from spnas_core.backbones import BackboneProvider
from spnas_core.blocks import BlockFamily, BlockSpec
from spnas_core.configuration import validate
from spnas_core.errors import ConfigError, ExportError
from spnas_core.exporting import ExporterPlugin
from spnas_core.morphisms import Morphism
from spnas_core.stems import StemSpec
from spnas_core.tasks import Task, TaskPlugin
from spnas_core.testing.backbone_contract import BackboneContract
from spnas_core.testing.checking import NoSuiteError
from spnas_core.testing.contracts import BlockContract, MorphismContract
from spnas_core.testing.exporter_contract import ExporterContract
from spnas_core.testing.stem_contract import StemContract
from spnas_core.testing.task_contract import TaskContract


def block_suite(name: str, item: BlockSpec | BlockFamily) -> BlockContract:
    """Return the suite over a block type, or over the examples of a family."""
    del name
    suite = BlockContract()
    suite.spec = item
    return suite


def stem_suite(name: str, item: StemSpec) -> StemContract:
    """Return the suite over a stem."""
    del name
    suite = StemContract()
    suite.stem = item
    return suite


def exporter_suite(name: str, item: ExporterPlugin) -> ExporterContract:
    """Return the suite over an exporter.

    Raises:
        NoSuiteError: it cannot write the network that the suite tries it with: its library is not installed, or it is
            for others.
    """
    suite = ExporterContract()
    suite.plugin = item
    try:
        suite.check_network()
    except ExportError as error:
        raise NoSuiteError(
            f"the exporter {name!r} refuses the backbone {suite.code}: {error}; subclass "
            "spnas_core.testing.ExporterContract with a code that it takes"
        ) from error
    return suite


def morphism_suite(name: str, item: Morphism) -> MorphismContract:
    """Return the suite over a morphism."""
    del name
    suite = MorphismContract()
    suite.morphism = item
    return suite


def backbone_suite(name: str, item: BackboneProvider) -> BackboneContract:
    """Return the suite over a source of networks.

    Raises:
        NoSuiteError: its library is not installed.
    """
    if hint := item.missing():
        raise NoSuiteError(f"the backbones of {name!r} need a library that is not installed: {hint}")
    suite = BackboneContract()
    suite.provider = name
    return suite


class _Registered(TaskContract):
    """The suite over a task as its plugin makes it."""

    def __init__(self, plugin: TaskPlugin) -> None:
        self._plugin = plugin

    def make(self) -> Task:
        """Make it with the settings of its example."""
        return self._plugin.build(validate(self._plugin.settings, self._plugin.example or {}))


def task_suite(name: str, item: TaskPlugin) -> TaskContract:
    """Return the suite over a task.

    Raises:
        NoSuiteError: it has no settings that are quick to try.
    """
    if item.example is None:
        raise NoSuiteError(
            f"the task {name!r} says no settings to try it with: give its TaskPlugin an example, or subclass "
            "spnas_core.testing.TaskContract"
        )
    try:
        validate(item.settings, item.example)
    except ConfigError as error:
        raise NoSuiteError(f"the example of the task {name!r} is refused: {error}") from error
    return _Registered(item)
