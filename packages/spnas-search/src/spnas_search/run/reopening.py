"""Having a run do more than it was told: a larger budget, or failed candidates once more."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from spnas_core.errors import ArchiveError, ConfigError
from spnas_search.archive import Archive, RunLock
from spnas_search.run.folder import RunFolder
from spnas_search.run.identity import ENDED, closed
from spnas_search.run.opening import read_values
from spnas_search.settings import of_begun, resolve, set_value, write_toml


def extend_budget(folder: Path, budget: Mapping[str, float]) -> None:
    """Raise the budget of a run, which goes on with it when it is resumed.

    Args:
        folder: of the run.
        budget: new bounds, by the name of their setting: candidates, epochs, hours.

    Raises:
        ArchiveError: there is no run, or another process holds it.
        ConfigError: nothing is raised, a bound is not higher than it was, or the finalists were scored again or the
            winner was tested already.
    """
    files = _files(folder)
    if not budget:
        raise ConfigError("by how much? give --candidates, --epochs or --hours")
    with RunLock(folder):
        with Archive.read(files.archive) as archive:
            _check_open(archive, folder)
        values = read_values(files)
        known = resolve(of_begun(values)).run.budget
        bounds = known.model_dump(exclude_none=True) or {"candidates": known.children}
        for name, bound in budget.items():
            if name not in bounds:
                raise ConfigError(f"{folder} has no bound on {name}: its budget is {_shown(bounds)}")
            if bound <= bounds[name]:
                raise ConfigError(f"{folder} has budget.{name} = {bounds[name]}: {bound} would be no more")
            set_value(values, f"budget.{name}", bound)
        resolve(of_begun(values))  # refuses what is no bound
        # without what earlier versions had no setting for: the archive has none either
        write_toml(values, files.config)
        with Archive.open(files.archive) as archive:
            archive.forget(ENDED)


def retry_failed(folder: Path, numbers: Sequence[int]) -> tuple[int, ...]:
    """Have failed candidates evaluated again when the run is resumed.

    What the search has decided meanwhile stays as it is; the new results count from then on.

    Args:
        folder: of the run.
        numbers: of the candidates; all that have failed where there are none.

    Returns:
        What will be tried again.

    Raises:
        ArchiveError: there is no run, another process holds it, a candidate has not failed, or none has.
        ConfigError: the finalists were scored again or the winner was tested already.
    """
    files = _files(folder)
    with RunLock(folder), Archive.open(files.archive) as archive:
        _check_open(archive, folder)
        chosen = tuple(numbers) or tuple(one.id for one in archive if one.status == "failed")
        if not chosen:
            raise ArchiveError(f"no candidate of {folder} has failed: there is nothing to try again")
        archive.retry(chosen)
    return chosen


def _files(folder: Path) -> RunFolder:
    files = RunFolder(folder)
    if not files.archive.exists():
        raise ArchiveError(f"{folder} holds no run: there is no {files.archive.name} in it")
    return files


def _check_open(archive: Archive, folder: Path) -> None:
    """Refuse what would choose again after the test: its result would no longer be a test."""
    if (why := closed(archive)) is not None:
        raise ConfigError(
            f"the search in {folder} is over ({why}), and nothing more may be chosen: go on from what it has found "
            f"with --from {folder}"
        )


def _shown(budget: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in budget.items())
