"""One process per run: a lock that the operating system takes back when its holder dies."""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from spnas_core.errors import ArchiveError

_HELD: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


class RunLock:
    """Holds a run's folder for this process; a context manager.

    Args:
        folder: the run's; the lock is its file ``lock``, which names the holder and is never deleted
            (deleting it would let a third process lock a file that a second one is waiting for).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ArchiveError: another process holds it, or the folder does not exist or cannot be locked.
        """
        if self._descriptor is not None:
            return
        path = self.folder / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            raise ArchiveError(f"there is no run in {self.folder}: the folder does not exist") from error
        except OSError as error:
            raise ArchiveError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder else "another process"
            archive = self.folder / "archive.db"
            raise ArchiveError(
                f"archive {archive} is held by {who}: stop it, or start this run with --out elsewhere"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise ArchiveError(f"{path} cannot be locked: {error.strerror}") from error
        self._descriptor = descriptor
        _HELD.add(self)

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _HELD.discard(self)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _forget_in_child() -> None:
    """Close the locks in a forked child: a child that outlives the holder would hold the run for ever."""
    for lock in list(_HELD):
        with contextlib.suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
