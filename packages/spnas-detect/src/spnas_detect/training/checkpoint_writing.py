"""Writing checkpoints while the training goes on: a slow disk delays a file, and not the processes of the next step."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from spnas_detect.training.checkpoint import Snapshot, write_checkpoint


class CheckpointWriter:
    """Writes snapshots in a thread; one that comes while another is written takes the place of one that waits.

    So at most two are held in memory. A context manager, which waits at the end until all is written, whatever ended
    the training.

    Args:
        folder: of the checkpoints.
        kept: how many stay, the last ones.
    """

    def __init__(self, folder: Path, kept: int = 1) -> None:
        self._folder = folder
        self._kept = kept
        self._lock = threading.Lock()
        self._next: Snapshot | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, snapshot: Snapshot | None) -> None:
        """Hand over what is to be written; None, in all processes but the first, is nothing.

        Raises:
            OSError: what an earlier one met, such as a full disk.
        """
        self.check()
        if snapshot is None:
            return
        with self._lock:
            self._next = snapshot
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name="spnas-checkpoint")
                self._thread.start()

    def check(self) -> None:
        """Raise what writing has met since."""
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: it could not be.
        """
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        self.check()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        except OSError:
            if error is None:  # or the first mishap would be hidden behind the second
                raise

    def _write_all(self) -> None:
        while True:
            with self._lock:
                snapshot, self._next = self._next, None
                if snapshot is None:
                    self._thread = None
                    return
            try:
                write_checkpoint(snapshot, self._folder, self._kept)
            except BaseException as error:  # noqa: BLE001 - raised again where the training can end by it
                with self._lock:
                    self._error, self._thread = error, None
                return
