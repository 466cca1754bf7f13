"""One process per run."""

from pathlib import Path

from spnas_core.lock import FolderLock


class RunLock(FolderLock):
    """Holds a run's folder for this process; see ``FolderLock``.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, f"archive {folder / 'archive.db'}")
