"""Weights that all parts of an architecture share: how a search asks a task to train them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError
from spnas_core.relaxation import Relaxation
from spnas_core.space import SearchSpace

if TYPE_CHECKING:
    from spnas_core.tasks.protocols import Task


@dataclass(frozen=True)
class SharedTraining:
    """Train an architecture so that its parts can be scored with its weights.

    Attributes:
        space: bounds that the parts keep.
        relaxation: how the choice among them is trained, too: then the receipt has ``relaxation``, a mapping with what
            ``spnas_core.relaxation.Logits.plain`` returns. None draws a part in each step, see
            ``spnas_core.supernets.Parts``.
    """

    space: SearchSpace
    relaxation: Relaxation | None = None


def check_sharing(task: "Task", name: str, start: Architecture) -> None:
    """Refuse a search whose task cannot train shared weights, or not on this start.

    A task that can has a method ``check_sharing(start)``, and takes requests with a ``SharedTraining``.

    Args:
        task: not prepared yet.
        name: under which it is registered, for messages.
        start: whose parts are to be scored.

    Raises:
        ConfigError: it cannot; how to mend that.
    """
    check = getattr(task, "check_sharing", None)
    if check is None:
        raise ConfigError(
            f"the task {name!r} cannot train weights that all parts of the start share: choose another way to inherit "
            "than 'supernet'"
        )
    check(start)
