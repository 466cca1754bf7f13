"""Whether a task that answers from trainings done before can answer a study."""

from spnas_core.errors import ConfigError
from spnas_core.tasks import Task, known_epochs
from spnas_search.run.known_trainings import check_epochs, task_name
from spnas_search.settings import RunSettings


def check_independent(task: Task, settings: RunSettings) -> None:
    """Refuse a task that answers from trainings done before to a study of what independent trainings differ by.

    Raises:
        ConfigError: the task is of that kind.
    """
    if known_epochs(task) is not None:
        raise ConfigError(
            f"the task {task_name(settings)!r} answers from trainings that were done before, and so gives the same "
            "ones again: a study of the signal needs a task that trains"
        )


def check_known(task: Task, settings: RunSettings, epochs: int, trainings: int) -> tuple[str, ...]:
    """Refuse a study that asks a task for trainings that it does not know, before anything is evaluated.

    Args:
        task: of the study; one that trains knows everything.
        settings: of the study.
        epochs: of its trainings, all from fresh weights.
        trainings: independent ones of each code.

    Returns:
        What else a user should know.

    Raises:
        ConfigError: it says which setting, and what is known.
    """
    known = known_epochs(task)
    if known is None:
        return ()
    check_epochs(known, settings, [("--epochs", epochs)])
    name = task_name(settings)
    if trainings > 1:
        raise ConfigError(
            f"the study trains each code {trainings} times, and the task {name!r} gives the same trainings again: set "
            "--trainings 1"
        )
    return (f"the task {name!r} answers from trainings that were done before: those of one code do not tell chance",)
