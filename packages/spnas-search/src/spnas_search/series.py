"""A series: the same search with several seeds, each in a folder ``seed-N`` of its own, resumable like any run."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spnas_core.errors import ArchiveError, ConfigError, HeldError, SpnasError
from spnas_core.lock import FolderLock
from spnas_search.run import Run, RunFolder, read_values, resume_run, start_run
from spnas_search.run.folder import Prepare, begun
from spnas_search.run.identity import differences, may_change
from spnas_search.settings import moved, of_begun, read_toml, resolve, suit, write_toml


@dataclass(frozen=True)
class Series:
    """Searches that differ in their seed only.

    Attributes:
        folder: holds one folder per seed, and ``series.toml``.
        values: the configuration of each, with the first one's seed.
        count: how many searches.
        remarks: what was chosen for all of them, and why.
        is_new: whether it was made just now: then it leaves nothing behind where its first search cannot start.
    """

    folder: Path
    values: Mapping[str, Any]
    count: int
    remarks: tuple[str, ...] = ()
    is_new: bool = False

    @property
    def seeds(self) -> range:
        """The seeds, counting up from the configuration's."""
        first = int(self.values["seed"])
        return range(first, first + self.count)

    def open(
        self, prepare: Prepare, *, cache: Path | None = None, data: str | None = None, **resuming: Any
    ) -> Iterator[tuple[int, Run | ArchiveError]]:
        """Yield each seed with its run, started or gone on with; who iterates runs and closes it.

        A search that has begun and cannot be opened (its archive is damaged, another process is at it) comes as the
        error that says so: the others lose nothing by that.

        Args:
            prepare: told how far reading the data is.
            cache: folder of cached data that they share; inside each one's folder by default.
            data: where their data lies now; its content must be what it was. None for where it lay.
            resuming: further arguments of ``resume_run`` for searches that have begun.
        """
        values = dict(self.values) if data is None else moved(self.values, data)
        is_known = data is None
        for seed in self.seeds:
            folder = self.folder / f"seed-{seed}"
            run: Run | ArchiveError
            if RunFolder(folder).config.exists() or RunFolder(folder).archive.exists():
                try:
                    run = resume_run(folder, prepare, data=data, cache=cache, **resuming)
                except ArchiveError as error:
                    run = error
            else:
                self._check_alike(values)
                try:
                    run = self._started(folder, {**values, "seed": seed}, prepare, cache)
                except HeldError as error:  # another process is starting it
                    run = error
            if not is_known and isinstance(run, Run):  # only now is it sure to be the same data
                with _held(self.folder):
                    write_toml({"seeds": self.count, **values}, RunFolder(self.folder).series)
                is_known = True
            yield seed, run

    def _check_alike(self, values: Mapping[str, Any]) -> None:
        """Refuse to start a search with other settings than those that have begun.

        Raises:
            ConfigError: the first key that differs, and the way out.
        """
        for seed in self.seeds:
            files = RunFolder(self.folder / f"seed-{seed}")
            if not files.archive.exists():
                continue
            try:
                begun = of_begun(read_values(files))
            except ArchiveError:  # which is told where it is opened
                continue
            for key, then, now in differences(begun, values):
                if key != "seed" and (key.startswith("budget.") or not may_change(key)):
                    raise ConfigError(
                        f"{RunFolder(self.folder).series} has {key} = {now!r}, and {files.path.name} has {then!r}: the "
                        "searches of a series differ in their seed only; put that back, or start another series with "
                        "--out elsewhere"
                    )

    def _started(self, folder: Path, values: Mapping[str, Any], prepare: Prepare, cache: Path | None) -> Run:
        """Start one of the searches; where the first of a new series cannot start, nothing is left, as of a run."""
        try:
            return start_run(folder, values, prepare, cache=cache)
        except SpnasError:
            if self.is_new and not any(self.folder.glob("seed-*")):
                RunFolder(self.folder).series.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # it holds something else
                    self.folder.rmdir()
            raise


def start_series(folder: Path, values: Mapping[str, Any], count: int) -> Series:
    """Make a new series; what cannot start leaves nothing behind.

    Raises:
        SpnasError: the configuration is wrong, or the folder holds a run or a series.
    """
    _check_seeds(resolve(values).run.seed, count, values)  # before the data is read for what they leave open
    files, lock = RunFolder(folder), _lock(folder)
    with begun(files, lock, lambda: _check_new(files), files.series):
        values, remarks = suit(values)
        settings = resolve(values).settled().as_dict()
        try:
            write_toml({"seeds": count, **settings}, files.series)
        except OSError as error:
            raise ConfigError(f"{files.series} cannot be written: {error.strerror}; choose another --out") from error
    lock.release(remove=True)
    return Series(folder, settings, count, remarks, is_new=True)


def resume_series(folder: Path, count: int | None = None) -> Series:
    """Go on with a series; a larger ``count`` adds searches, None keeps the number.

    Raises:
        ArchiveError: there is no series in the folder.
        ConfigError: its settings were made unreadable, or fewer searches are asked for than there are.
        HeldError: another process is writing its settings.
    """
    files = RunFolder(folder)
    if not files.series.exists():
        raise ArchiveError(f"{folder} holds no series of searches: there is no {files.series.name} in it")
    with _held(folder):
        return _resumed(files, count)


def _resumed(files: RunFolder, count: int | None) -> Series:
    """Read a series, and add searches to it; its folder is held."""
    folder = files.path
    values = read_toml(files.series)
    known = values.pop("seeds", None)
    if not isinstance(known, int) or known < 1 or not isinstance(values.get("seed"), int):
        raise ConfigError(f"{files.series} was altered: it must have whole numbers 'seeds' and 'seed'")
    if count is not None and count < known:
        raise ConfigError(f"{folder} is a series of {known} searches: --seeds {count} would leave some out")
    wanted = known if count is None else count
    try:
        resolve(of_begun(values))
        _check_seeds(values["seed"], wanted, of_begun(values))
    except SpnasError as error:
        raise ConfigError(f"{files.series}: {error}") from None
    if wanted > known:
        write_toml({"seeds": wanted, **values}, files.series)
    return Series(folder, of_begun(values), wanted)


def _lock(folder: Path) -> FolderLock:
    return FolderLock(folder, f"the series in {folder}")


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the settings of a series while they are read and written; each search has a lock of its own."""
    lock = _lock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release(remove=True)


def _check_new(files: RunFolder) -> None:
    """Refuse a folder that holds a run, or any search of a series.

    Raises:
        ConfigError: naming what is there.
    """
    files.check_new()
    if searches := sorted(path.name for path in files.path.glob("seed-*")):
        raise ConfigError(f"{files.path} holds {searches[0]} already: choose another --out")


def _check_seeds(first: int, count: int, values: Mapping[str, Any]) -> None:
    """Refuse a seed of a later search that no search takes, before the first one is begun.

    Raises:
        ConfigError: it is too large.
    """
    resolve({**values, "seed": first + count - 1})
