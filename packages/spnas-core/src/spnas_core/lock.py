"""One process per folder: a lock that the operating system takes back when its holder dies."""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from spnas_core.errors import HeldError

_HELD: "weakref.WeakSet[FolderLock]" = weakref.WeakSet()


class FolderLock:
    """Holds a folder for this process; a context manager.

    Args:
        folder: the lock is its file ``lock``, which names the holder.
        what: lies in the folder, for messages, such as ``the training in trainings/voc``.
    """

    def __init__(self, folder: Path, what: str) -> None:
        self.folder = folder
        self._what = what
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            HeldError: another process holds it, or the folder does not exist or cannot be locked.
        """
        while self._descriptor is None:
            descriptor = self._open()
            self._lock(descriptor)
            # Whoever could not start a run here may have removed the file while we waited to open it.
            if _is_file(descriptor, self._path):
                self._descriptor = descriptor
                _HELD.add(self)
            else:
                os.close(descriptor)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; does nothing where it is not held.

        Args:
            remove: whether its file goes too, since there is no run in the folder.
        """
        if self._descriptor is not None:
            if remove:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None
            _HELD.discard(self)

    @property
    def _path(self) -> Path:
        return self.folder / "lock"

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            raise HeldError(f"there is no run in {self.folder}: the folder does not exist") from error
        except OSError as error:
            raise HeldError(f"{self._path} cannot be opened: {error.strerror}") from error

    def _lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder else "another process"
            raise HeldError(
                f"{self._what} is held by {who}: stop it, or start this run with --out elsewhere"
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise HeldError(f"{self._path} cannot be locked: {error.strerror}") from error

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder; nothing is changed, so this can be asked of anybody's."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether a path still names the file that a descriptor has open."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_ino, held.st_dev) == (found.st_ino, found.st_dev)


def _forget_in_child() -> None:
    """Close the locks in a forked child: a child that outlives the holder would hold the run for ever."""
    for lock in list(_HELD):
        with contextlib.suppress(OSError):
            lock.release()


os.register_at_fork(after_in_child=_forget_in_child)
