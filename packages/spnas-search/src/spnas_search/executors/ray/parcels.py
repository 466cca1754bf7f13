"""Weights files on their way: by checksum through the object store, and back as bytes."""

import contextlib
import hashlib
import os
import time
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spnas_core.errors import MachineError

Content = NDArray[np.uint8]

_KEPT = 16
"""Files that stay in the object store, and in a node's folder, after their last evaluation has got them."""


class LostContentError(Exception):
    """Weights that did not arrive as they were sent: no candidate's fault."""


def checksum_of(content: Content) -> str:
    """Return the digest of a file's bytes, as the archive has it of weights."""
    return hashlib.blake2b(content.data, digest_size=32).hexdigest()


class Outbox:
    """The search's side: puts files into the object store, each once.

    Args:
        ray: the module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._sent: OrderedDict[tuple[Path, int, int], tuple[str, Any]] = OrderedDict()

    def send(self, path: Path) -> tuple[str, Any]:
        """Return the checksum of a file and the reference to its bytes.

        Raises:
            MachineError: the file cannot be read.
        """
        try:
            status = path.stat()
            key = (path, status.st_mtime_ns, status.st_size)
            if key not in self._sent:
                content = np.fromfile(path, np.uint8)
                self._sent[key] = checksum_of(content), self._ray.put(content)
        except OSError as error:
            raise MachineError(f"weights {path} cannot be read: {error.strerror}") from error
        self._sent.move_to_end(key)
        while len(self._sent) > _KEPT:
            self._sent.popitem(last=False)  # those under way hold the reference themselves
        return self._sent[key]


def deliver(content: Content, checksum: str, path: Path) -> None:
    """Write trained weights where their request wants them.

    Raises:
        LostContentError: they are not what the evaluation has written.
        MachineError: the disk does not take them.
    """
    if checksum_of(content) != checksum:
        raise LostContentError("its weights did not arrive as they were sent")
    try:
        content.tofile(path)
    except OSError as error:
        raise MachineError(f"weights {path} cannot be written: {error.strerror or error}") from error


def fetch(ray: Any, reference: Any, checksum: str, store: Path, wanted: Path) -> None:
    """Put weights where an evaluation reads them; a node fetches each file once, as long as it is in use.

    Args:
        ray: the module, in a worker.
        reference: to the bytes.
        checksum: of the bytes.
        store: the node's folder of such files; those that were used last stay in it.
        wanted: path of the evaluation's own link, on the same disk: whatever becomes of the store, that one stays.

    Raises:
        LostContentError: the bytes are gone from the cluster, or are others.
        OSError: the disk does not take them.
    """
    kept = store / checksum
    try:
        os.link(kept, wanted)
    except FileNotFoundError:
        pass
    else:
        if checksum_of(np.fromfile(wanted, np.uint8)) == checksum:
            _mark_used(wanted)  # the same file as the kept one, which another process may have removed by now
            return
        wanted.unlink()
    try:
        content: Content = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise LostContentError(f"the weights to inherit are gone: {type(error).__name__}") from error
    if checksum_of(content) != checksum:
        raise LostContentError("the weights to inherit did not arrive as they were sent")
    temporary = store / f".{uuid.uuid4().hex}"
    content.tofile(temporary)
    os.link(temporary, wanted)
    _mark_used(temporary)
    temporary.replace(kept)
    _remove_unused(store)


def _mark_used(path: Path) -> None:
    now = time.time_ns()  # the system's own is coarser
    os.utime(path, ns=(now, now))


def _remove_unused(store: Path) -> None:
    """Remove all but the files that were used last; whoever works with one of the others has a link of its own."""
    with contextlib.suppress(FileNotFoundError):  # another process removes the same ones, or the run has ended
        complete = [path for path in store.iterdir() if not path.name.startswith(".")]
        used = [(path.stat().st_mtime_ns, path) for path in complete]
        for _, path in sorted(used, reverse=True)[_KEPT:]:
            path.unlink(missing_ok=True)
