"""The numbers of a training as it goes: one JSON object per line, and TensorBoard where that is installed."""

import json
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spnas_core.commands.json_text import to_json
from spnas_core.errors import MALFORMED

FILE, BOARD = "scalars.jsonl", "tensorboard"


class Scalars:
    """Writes what was measured at a step.

    A resumed training goes on from its checkpoint, so lines of later steps are dropped when the file is opened.

    Args:
        folder: of the training.
        step: finished steps.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        path = folder / FILE
        kept = [line for line in _lines(path, "replace") if _step_of(line) <= step]
        temporary = folder / f".{FILE}"
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")
        self._board: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / BOARD), purge_step=step + 1)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by name; what is not finite becomes null."""
        self._file.write(to_json({"step": step, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_scalars(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a training's folder, each with its ``step``."""
    return [json.loads(line) for line in _lines(folder / FILE) if _step_of(line) < math.inf]


def _lines(path: Path, errors: str = "strict") -> list[str]:
    return path.read_text(encoding="utf-8", errors=errors).splitlines(keepends=True) if path.exists() else []


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that a killed process has left unfinished."""
    try:
        return float(json.loads(line)["step"])
    except MALFORMED:
        return math.inf
