"""The architecture value: block type, base channels, stem, serial code, parallel code."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from spnas_core.errors import CodeError

DEFAULT_BASE = 64
DEFAULT_STEM = "conv7"


@dataclass(frozen=True)
class Architecture:
    """One backbone, described completely by a short text such as ``r@32_111-2111-211_0-0-1s``.

    Attributes:
        block: name of a registered block type (``b``, ``r``, ``x32x4d``, … or a plugin's).
        stages: the serial code, one string per stage; per block ``1`` keeps the channels and ``2`` doubles them.
        base: channels of the first stage before the block type's expansion.
        stem: name of a registered stem.
        rows: the parallel code, extra rows beside each stage; empty where no stage has any.
        shares_rows: whether all rows of a stage share the main path's stage weights.
        neck: what a task puts behind the backbone, in the task's words; detection reads the name of a neck, such as
            ``merge:o0@0=in0+in1;o1@1=in1+o0``. Empty where the task's settings are to say it. The network of the
            backbone does not depend on it.

    Raises:
        CodeError: an empty stage, a digit other than 1 and 2, a parallel code of another length than the serial
            code, an unknown block or stem, a base that would leave some layer without channels, or a neck with blanks
            or ``~``.
    """

    block: str
    stages: tuple[str, ...]
    base: int = DEFAULT_BASE
    stem: str = DEFAULT_STEM
    rows: tuple[int, ...] = ()
    shares_rows: bool = False
    neck: str = ""

    def __post_init__(self) -> None:
        from spnas_core.encoding.validation import check_architecture

        if not any(self.rows) and len(self.rows) in {0, len(self.stages)}:
            object.__setattr__(self, "rows", ())
            object.__setattr__(self, "shares_rows", False)
        check_architecture(self)

    @classmethod
    def parse(cls, text: str) -> "Architecture":
        """Read the text form; the exact inverse of ``str``.

        Raises:
            CodeError: the text is no code, or describes an impossible network; the message says where.
        """
        from spnas_core.encoding.grammar import parse_architecture

        return parse_architecture(text)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        from spnas_core.encoding.grammar import print_architecture

        return print_architecture(self)

    @property
    def serial_code(self) -> str:
        """The stages joined by ``-``."""
        return "-".join(self.stages)

    @property
    def stage_count(self) -> int:
        """How many stages there are."""
        return len(self.stages)

    @cached_property
    def digits(self) -> str:
        """All blocks in one string, stage borders left out; position = block index."""
        return "".join(self.stages)

    @property
    def borders(self) -> tuple[int, ...]:
        """Block index at which each stage but the first begins, ascending."""
        starts, position = [], 0
        for stage in self.stages[:-1]:
            position += len(stage)
            starts.append(position)
        return tuple(starts)

    def with_stages(self, stages: tuple[str, ...]) -> "Architecture":
        """Return the same architecture with another serial code; a parallel code grows by zeros with the stages.

        Raises:
            CodeError: fewer stages than the parallel code describes.
        """
        rows = self.rows
        if rows:
            rows = rows + (0,) * (len(stages) - len(rows))
        return Architecture(self.block, stages, self.base, self.stem, rows, self.shares_rows, self.neck)

    @classmethod
    def from_borders(cls, like: "Architecture", digits: str, borders: tuple[int, ...]) -> "Architecture":
        """Cut one block sequence into stages.

        Args:
            like: gives block type, base, stem, parallel code and neck.
            digits: the blocks.
            borders: where stages begin, ascending, each inside the sequence.

        Raises:
            CodeError: a border that leaves a stage empty.
        """
        edges = (0, *borders, len(digits))
        if any(end <= start for start, end in pairwise(edges)):
            raise CodeError(
                f"borders {borders} leave a stage of {digits!r} empty: every stage needs at least one block"
            )
        return like.with_stages(tuple(digits[a:b] for a, b in pairwise(edges)))
