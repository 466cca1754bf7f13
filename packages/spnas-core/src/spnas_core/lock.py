"""One process per folder: a lock that the operating system takes back when its holder dies."""

import contextlib
import fcntl
import os
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from spnas_core.errors import HeldError

_PATIENCE_SECONDS = 0.3
"""So long a starter tries: whoever looks whether a folder is held, holds it for a moment."""
_SECONDS_BETWEEN = 0.01

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
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._descriptor is None:
            descriptor = self._open()
            try:
                is_ours = self._lock(descriptor, may_wait=time.monotonic() < deadline)
            except BaseException:
                os.close(descriptor)
                raise
            if is_ours:
                self._descriptor = descriptor
                _HELD.add(self)
            else:
                os.close(descriptor)
                time.sleep(_SECONDS_BETWEEN)  # flock waits for ever or not at all

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back; does nothing where it is not held.

        Args:
            remove: whether its file goes too, since there is no run in the folder.
        """
        if self._descriptor is not None:
            if remove:
                self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # of a disk that takes nothing any more
                os.ftruncate(self._descriptor, 0)  # nobody is to be named who does not hold it
            self.forget()

    def forget(self) -> None:
        """Close the lock's file as it is: of a forked child, which leaves the lock to its holder."""
        if self._descriptor is not None:
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

    def _lock(self, descriptor: int, *, may_wait: bool) -> bool:
        """Lock the file and enter our number; False where that is to be tried again.

        Raises:
            HeldError: another process holds it and we have waited, or it cannot be locked.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever could not start a run here may have removed the file while we waited to open it.
            if not _is_file(descriptor, self._path):
                return False
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            if may_wait:
                return False
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise HeldError(
                f"{self._what} is held by {who}: stop it, or start this run with --out elsewhere"
            ) from error
        except OSError as error:
            raise HeldError(f"{self._path} cannot be locked: {error.strerror}") from error
        return True

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
            lock.forget()


os.register_at_fork(after_in_child=_forget_in_child)
