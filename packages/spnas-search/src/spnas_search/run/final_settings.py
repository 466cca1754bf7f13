"""Whether what a search compares is trained, and whether its end has the trainings that its settings speak of."""

from spnas_core.errors import ConfigError
from spnas_core.tasks import Task, known_epochs
from spnas_search.archive import HEIRLESS
from spnas_search.settings import RunSettings
from spnas_search.strategies import CheckedStrategy


def check_final(settings: RunSettings, wanted: int) -> None:
    """Refuse trainings from fresh weights in an end that has none.

    Args:
        settings: of the search.
        wanted: epochs that the winner is trained for use.

    Raises:
        ConfigError: it says which, and what to do.
    """
    if settings.final.train_fresh and not wanted:
        raise ConfigError(
            "final.train_fresh (--fresh) trains the winner from fresh weights, and this search does not train it: "
            "say for how many epochs by final.train_epochs, or leave it out"
        )
    if settings.final.from_scratch and not settings.final.seeds:
        raise ConfigError(
            "final.from_scratch (--from-scratch) trains start and winner of the verdict from fresh weights, and "
            "final.seeds = 0 leaves the verdict out: raise that, or leave this out"
        )


def check_trained(task: Task, settings: RunSettings, strategy: CheckedStrategy) -> None:
    """Refuse to score networks of fresh weights that nobody has trained, unless the task knows such scores.

    Args:
        task: of the search.
        settings: of the search.
        strategy: as it is built.

    Raises:
        ConfigError: it says which, and what to do.
    """
    if 0 in (known_epochs(task) or ()):
        return
    final = settings.final
    if settings.inherit == "none" and strategy.leaves_untrained:
        raise ConfigError(
            f"inherit = 'none' gives children fresh weights, and the strategy {strategy.name!r} trains some for 0 "
            "epochs: set its epochs to 1 or more, or let them inherit"
        )
    if settings.inherit == "supernet" and strategy.leaves_untrained and not settings.warm_start_epochs:
        raise ConfigError(
            "warm_start_epochs is 0, and children of 0 epochs would share weights that nobody has trained: set it to 1 "
            "or more"
        )
    if final.seeds and final.scratch_epochs == 0 and (final.from_scratch or settings.inherit in HEIRLESS):
        raise ConfigError(
            "final.scratch_epochs is 0, and the verdict would compare networks of fresh weights: set it to 1 or more, "
            "or leave it out"
        )
