"""The folder of a run: its files by name, and what may be made of what lies in it."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spnas_core.checksums import file_checksum
from spnas_core.durable import unfinished
from spnas_core.errors import ConfigError, MachineError
from spnas_core.lock import FolderLock
from spnas_core.occupied import RUN, SERIES, check_not_taken

CONFIG = "run.toml"

Prepare = Callable[[str, int, int], None]
"""Told how far reading the data is: what, done, total."""


@dataclass(frozen=True)
class RunFolder:
    """Names and files of a run's folder.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration; where it is, a run is."""
        return self.path / CONFIG

    @property
    def archive(self) -> Path:
        """All candidates."""
        return self.path / "archive.db"

    @property
    def weights(self) -> Path:
        """Folder of the candidates' weights."""
        return self.path / "weights"

    @property
    def cache(self) -> Path:
        """Folder of whatever the task does not want to compute twice."""
        return self.path / "cache"

    @property
    def init(self) -> Path:
        """Weights that the start inherits, where it does not start fresh."""
        return self.path / "init.safetensors"

    @property
    def series(self) -> Path:
        """Settings of a series of searches, each in a folder of its own inside this one."""
        return self.path / "series.toml"

    @property
    def is_there(self) -> bool:
        """Whether the folder holds a run, or has just been made for one."""
        return self.archive.is_file() or self.config.is_file()

    @property
    def has_weights(self) -> bool:
        """Whether any candidate has left weights."""
        return self.weights.is_dir() and any(self.weights.iterdir())

    def remove_archive(self) -> None:
        """Remove the archive and its journals."""
        for file in (self.archive, *(Path(f"{self.archive}{end}") for end in ("-wal", "-shm"))):
            file.unlink(missing_ok=True)

    def init_checksum(self) -> str:
        """Checksum of the weights that the start inherits; empty where there are none."""
        return file_checksum(self.init) if self.init.exists() else ""

    def check_new(self) -> None:
        """Refuse a folder with any trace of a run, or that holds something else which has a folder of its own.

        Images that were cached are no trace: they are used again.

        Raises:
            ConfigError: naming what is there.
        """
        if self.config.exists():
            raise ConfigError(f"{self.path} holds a run already: continue it with --resume, or choose another --out")
        if self.series.exists():
            raise ConfigError(
                f"{self.path} holds a series of searches already: continue it with --resume, or choose another --out"
            )
        check_not_taken(self.path, {RUN, SERIES})
        traces = [file for file in (self.archive, Path(f"{self.archive}-wal"), self.init) if file.exists()]
        if self.has_weights:
            traces.append(self.weights)
        if traces:
            raise ConfigError(
                f"{self.path} holds {traces[0].name} of an earlier run, without its {CONFIG}: continue that run with "
                "--resume, or choose another --out"
            )


@contextmanager
def begun(files: RunFolder, lock: FolderLock, check_new: Callable[[], None], *own: Path) -> Iterator[None]:
    """Let something begin in a new folder: whoever fails inside leaves nothing behind, and removes only what he made.

    The lock is held inside and, unless that fails, afterwards.

    Args:
        files: of the folder.
        lock: of the folder, free.
        check_new: refuses a folder that is none; asked before the lock is taken, and again under it.
        own: files that are made inside, besides those of a run.

    Raises:
        SpnasError: the folder is not new, cannot be made, or is held by another process.
    """
    check_new()
    made = _Made(files)
    try:
        lock.acquire()
    except BaseException:
        made.remove_folders()
        raise
    ours = False
    try:
        check_new()  # again: somebody else may have begun, and ended, before we had the lock
        ours = True
        yield
    except BaseException:
        if ours:
            made.remove(own)
        lock.release(remove=ours)
        made.remove_folders()
        raise


class _Made:
    """What a starter has made in a folder, so that one who fails removes that and nothing else.

    Args:
        files: of the run.

    Raises:
        MachineError: the folder cannot be made.
    """

    def __init__(self, files: RunFolder) -> None:
        self._files = files
        self._folders = [folder for folder in (files.path, *files.path.parents) if not folder.exists()]
        try:
            files.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.remove_folders()
            raise MachineError(f"folder {files.path} cannot be made: {error.strerror}; choose another --out") from error
        self._had_cache = files.cache.exists()

    def remove(self, own: Iterable[Path]) -> None:
        """Remove it, but for a folder into which somebody else has put something."""
        files = self._files
        files.remove_archive()
        for file in (files.config, files.init, *own):
            file.unlink(missing_ok=True)
            for left in unfinished(file):
                left.unlink(missing_ok=True)
        for folder in (files.weights,) if self._had_cache else (files.weights, files.cache):
            shutil.rmtree(folder, ignore_errors=True)

    def remove_folders(self) -> None:
        """Remove the folders that were made, where they are empty by now."""
        for folder in self._folders:
            try:
                folder.rmdir()
            except OSError:  # not empty, or not there
                return
