"""Files of a cache: space that is there before it is written, and folders whose builder is known to live.

A cache is built in a folder named ``.NAME.PROCESS-RANDOM.tmp`` beside its final place. Its ``cache.json`` is there from
the beginning, locked by its builder; the system drops the lock with the process, however that ends, so whoever gets
it has found a leftover. A process's number would not do: numbers come back.
"""

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from torch import Tensor

from spnas_core.durable import sync_folder
from spnas_core.errors import DataError

INDEX = "cache.json"
PIXELS = "images.npy"
TRANSPOSED = "transposed.npy"

_SUFFIX = ".tmp"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_RESERVATIONS = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


class PixelFile:
    """uint8[N, 3, H, W] in the npy format, written image by image, by several threads if need be.

    The space is reserved at once. It is written to by position and not through a memory map: where the disk is full all
    the same, that is an OSError then, and no signal that ends the process.

    Args:
        path: of the file, which must not exist.
        count: of images.
        image_size: their (width, height).

    Raises:
        OSError: the file cannot be made, or there is no space for it.
    """

    def __init__(self, path: Path, count: int, image_size: tuple[int, int]) -> None:
        self._shape = (3, image_size[1], image_size[0])
        self._file = path.open("x+b", buffering=0)
        try:
            self._start = self._write_header(count)
            reserve(self._file.fileno(), self._start + count * int(np.prod(self._shape)))
        except BaseException:
            self._file.close()
            raise

    def write(self, index: int, pixels: Tensor) -> None:
        """Write an image.

        Args:
            index: of the image.
            pixels: uint8[3, h, w]; the rest of its canvas is zero.
        """
        canvas = np.zeros(self._shape, np.uint8)
        canvas[:, : pixels.shape[1], : pixels.shape[2]] = pixels.numpy()
        write_at(self._file.fileno(), self._start + index * canvas.nbytes, canvas.data.cast("B"))

    def keep(self, indices: Sequence[int]) -> None:
        """Leave only some images, and move them together, once all have been written.

        Args:
            indices: of those that stay, ascending.
        """
        size = int(np.prod(self._shape))
        for place, index in enumerate(indices):
            if place != index:
                self._file.seek(self._start + index * size)
                write_at(self._file.fileno(), self._start + place * size, memoryview(self._read(size)))
        self._file.seek(0)
        self._write_header(len(indices))
        self._file.truncate(self._start + len(indices) * size)

    def _write_header(self, count: int) -> int:
        """Write the header, which is as long for every count of images; returns where it ends."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def _read(self, size: int) -> bytearray:
        found = bytearray()
        while len(found) < size:
            part = self._file.read(size - len(found))
            if not part:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            found += part
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                os.fsync(self._file.fileno())


def pixel_bytes(count: int, image_size: tuple[int, int]) -> int:
    """Count the bytes of images in a ``PixelFile``, the header left out."""
    return count * 3 * image_size[0] * image_size[1]


def write_at(descriptor: int, position: int, rest: memoryview) -> None:
    """Write all of something to a place in a file.

    Raises:
        OSError: it cannot be written, or not all of it.
    """
    while rest:
        written = os.pwrite(descriptor, rest, position)
        rest, position = rest[written:], position + written


def reserve(descriptor: int, size: int) -> None:
    """Give a file its size, and its space on the disk.

    Raises:
        OSError: there is not so much space, or the file may not be so large.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _NO_RESERVATIONS:
                raise
        else:
            return
    status = os.fstatvfs(descriptor)
    if status.f_bavail * status.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, size)


def standing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def unwritable(folder: Path, needed: int, error: OSError) -> DataError:
    """Word why a cache cannot be written.

    Args:
        folder: of the caches.
        needed: bytes of the cache.
        error: that writing it has met.
    """
    if error.errno not in _NO_SPACE:
        return DataError(
            f"cannot write the image cache into {folder}: {error.strerror or error}; choose another --out or --cache"
        )
    free = shutil.disk_usage(standing(folder)).free
    return DataError(
        f"the image cache needs {needed:,} bytes in {folder}, where {free:,} are free ({error.strerror}): make room "
        "there, or choose another --out or --cache"
    )


@contextmanager
def construction(folder: Path, name: str) -> Iterator[Path]:
    """Make a folder to build a cache in, and remove what killed processes have left of theirs.

    Args:
        folder: of the caches; made where it is missing, and removed again where nothing comes of it.
        name: of the cache.

    Yields:
        The temporary folder. ``publish`` gives it its final name; otherwise it is removed at the end.
    """
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{_SUFFIX}"):
            _remove_if_dead(leftover)
        building, lock = _make_locked(folder, name)
        try:
            yield building
        finally:
            shutil.rmtree(building, ignore_errors=True)
            os.close(lock)
    except BaseException:
        if not existed:
            with suppress(OSError):  # somebody else builds there
                folder.rmdir()
        raise


def publish(building: Path, final: Path) -> None:
    """Give a complete cache its final name, durably; another process may have been first with the same content."""
    for path in building.iterdir():
        if path.is_dir():
            sync_folder(path)
    sync_folder(building)
    try:
        building.rename(final)
    except OSError:
        if not final.exists():
            raise
    sync_folder(final.parent)


def _make_locked(folder: Path, name: str) -> tuple[Path, int]:
    """Return a new temporary folder, and the descriptor that holds its lock."""
    while True:
        building = folder / f".{name}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        folder.mkdir(parents=True, exist_ok=True)
        building.mkdir()
        try:
            lock = os.open(building / INDEX, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:  # another process took the empty folder for a leftover
            continue
        except OSError:
            building.rmdir()
            raise
        with suppress(OSError):  # a file system without locks, on which nobody removes leftovers either
            fcntl.flock(lock, fcntl.LOCK_EX)
        if (building / INDEX).exists():
            return building, lock
        os.close(lock)


def _remove_if_dead(leftover: Path) -> None:
    """Remove a temporary folder that no process builds in any more."""
    try:
        lock = os.open(leftover / INDEX, os.O_WRONLY)
    except OSError:  # it is gone; or its builder was killed before there was anything in it
        with suppress(OSError):
            leftover.rmdir()
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its builder lives, or the file system has no locks
        return
    else:
        shutil.rmtree(leftover, ignore_errors=True)
    finally:
        os.close(lock)
