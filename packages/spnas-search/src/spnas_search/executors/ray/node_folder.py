"""What a node keeps, apart from what it is sent: cached data for all runs, weights for one.

``FOLDER/cache/`` and ``FOLDER/tasks/`` stay; ``FOLDER/runs/NAME/`` is a run's and is removed at its end. Whoever works
in it holds its lock, so that what a killed run has left is told by nobody holding it, and goes when the next one comes.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from spnas_core.errors import MachineError


class NodeFolder:
    """The folder of this node, and a run's part of it. Use ``of_run``.

    Attributes:
        path: of the folder.
        run: of the run's part.
    """

    def __init__(self, path: Path, run: Path) -> None:
        self.path = path
        self.run = run

    @staticmethod
    @cache
    def of_run(path: Path | None, name: str) -> "NodeFolder":
        """Open a run's part, and hold it until this process ends; sweep what killed runs have left.

        Args:
            path: None is the user's folder in the system's temporary one.
            name: of the run's part.

        Raises:
            MachineError: the folder cannot be made, or is another user's.
        """
        folder = path or Path(tempfile.gettempdir()) / f"spnas-{os.getuid()}"
        run = folder / "runs" / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_uid != os.getuid():
                raise MachineError(f"{folder} is another user's: name one of your own by executor.node_folder")
            with locked(folder / "lock"):
                _sweep(folder / "runs", keep=name)
                for part in (folder / "cache", folder / "tasks", run / "weights"):
                    part.mkdir(parents=True, exist_ok=True)
                held = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(held, fcntl.LOCK_SH)
        except OSError as error:
            raise MachineError(f"folder {folder} cannot be used: {error.strerror}") from error
        return NodeFolder(folder, run)

    @property
    def weights(self) -> Path:
        """Folder of files that are called by their checksums."""
        return self.run / "weights"

    @contextmanager
    def workplace(self, name: str) -> Iterator[Path]:
        """Make a folder for one attempt, and remove it in the end."""
        place = self.run / f"{name}-{os.getpid()}"
        self.weights.mkdir(parents=True, exist_ok=True)  # unless an end that came too early has taken it
        place.mkdir(exist_ok=True)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock of this node; wait for it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(runs: Path, keep: str) -> None:
    """Remove the parts of runs that nobody holds."""
    for run in runs.iterdir() if runs.is_dir() else ():
        if run.name == keep:
            continue
        try:
            descriptor = os.open(run / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            shutil.rmtree(run, ignore_errors=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(run, ignore_errors=True)
        except OSError:
            pass  # somebody works there
        finally:
            os.close(descriptor)
