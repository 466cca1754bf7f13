"""Whether a task that answers from trainings done before knows those that a search would ask for."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from spnas_core.errors import ConfigError
from spnas_core.tasks import Task, known_epochs
from spnas_search.settings import RunSettings


def check_trainings(task: Task, settings: RunSettings, epochs: int, training: int) -> None:
    """Refuse settings that ask a task for trainings that it does not know, before anything is evaluated.

    Args:
        task: of the search; one that trains knows everything.
        settings: of the search.
        epochs: that the strategy's children are trained.
        training: epochs that the winner is trained for use; 0 for not at all.

    Raises:
        ConfigError: it says which setting, and what is known.
    """
    known = known_epochs(task)
    if known is None:
        return
    name = task_name(settings)
    if settings.inherit != "none":
        raise ConfigError(f"the task {name!r} knows trainings from fresh weights only: set inherit = 'none'")
    if settings.rungs.epochs:
        raise ConfigError(
            f"rungs.epochs are {list(settings.rungs.epochs)}, and the task {name!r} knows trainings from fresh weights "
            "only, none that went on: leave the rungs out"
        )
    if training and not settings.final.train_fresh:
        raise ConfigError(
            f"final.train_epochs is {training}, and the task {name!r} knows trainings from fresh weights only: leave "
            "it out, or add final.train_fresh = true (--fresh)"
        )
    check_epochs(known, settings, _asked(settings, epochs, training))


def check_epochs(known: Collection[int], settings: RunSettings, asked: Iterable[tuple[str, int]]) -> None:
    """Refuse trainings of other epochs than a task knows.

    Args:
        known: by the task.
        settings: that name it.
        asked: epochs, by the setting or option that asks for them.

    Raises:
        ConfigError: it says which, and what is known.
    """
    if not known:
        raise ConfigError(f"the task {task_name(settings)!r} knows no age at which all of its codes were scored")
    for key, wanted in asked:
        if wanted not in known:
            raise ConfigError(
                f"{key} is {wanted}, and the task {task_name(settings)!r} knows trainings of "
                f"{', '.join(map(str, known))} epochs: choose one of these"
            )


def task_name(settings: RunSettings) -> str:
    """Return under which name the task of a search or study is registered."""
    return str(settings.task.get("name", "detection"))


def _asked(settings: RunSettings, epochs: int, training: int) -> Iterator[tuple[str, int]]:
    """Yield the epochs of all trainings, by the setting that asks for them."""
    yield "strategy.epochs", epochs
    yield from _of_tables("strategy", settings.strategy)
    if settings.final.seeds and settings.final.scratch_epochs is not None:
        yield "final.scratch_epochs", settings.final.scratch_epochs
    if training:
        yield "final.train_epochs", training


def _of_tables(place: str, table: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the epochs of some children, such as ``swap_epochs``, where 0 stands for ``epochs``.

    Of strategies inside a strategy that is ``epochs``, too.
    """
    for key, value in table.items():
        is_own = key.endswith("_epochs") or (key == "epochs" and place != "strategy")
        if is_own and isinstance(value, int) and value:
            yield f"{place}.{key}", value
        elif isinstance(value, Mapping) and key != "reignition":
            yield from _of_tables(f"{place}.{key}", value)
        elif key == "phases" and isinstance(value, list | tuple):
            for number, inner in enumerate(value):
                if isinstance(inner, Mapping):
                    yield from _of_tables(f"{place}.{key}.{number}", inner)
