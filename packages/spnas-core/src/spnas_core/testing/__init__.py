"""For tests of spnas and of plugins: contract suites, and random architectures.

The suites need nothing; ``check_plugin`` needs ``spnas-core[commands]``, and the hypothesis strategies
``architectures``, ``serial_architectures`` and ``parallel_architectures`` need hypothesis.
"""

from typing import TYPE_CHECKING, Any

from spnas_core.testing.backbone_contract import BackboneContract
from spnas_core.testing.checking import Broken, Checked, NoSuiteError, check_plugin
from spnas_core.testing.contracts import BlockContract, MorphismContract
from spnas_core.testing.drawing import random_architecture, random_images, uneven_backbone
from spnas_core.testing.exporter_contract import ExporterContract
from spnas_core.testing.stem_contract import StemContract
from spnas_core.testing.task_contract import TaskContract

if TYPE_CHECKING:
    from spnas_core.testing.codes import architectures, parallel_architectures, serial_architectures

__all__ = [
    "BackboneContract",
    "BlockContract",
    "Broken",
    "Checked",
    "ExporterContract",
    "MorphismContract",
    "NoSuiteError",
    "StemContract",
    "TaskContract",
    "architectures",
    "check_plugin",
    "parallel_architectures",
    "random_architecture",
    "random_images",
    "serial_architectures",
    "uneven_backbone",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from spnas_core.testing import codes

        return getattr(codes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
