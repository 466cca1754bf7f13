"""The pages of the documentation, their blocks of code, and the commands in these."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "packages/*/README.md", "csrc/README.md", "examples/*/README.md")
    for path in ROOT.glob(pattern)
)
FENCE = re.compile(r"^( *)(`{3,})([^\n]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: path from the repository's root.
        line: of its fence, counted from 1.
        language: what stands behind the fence; empty where nothing does.
        text: what is fenced.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Typed:
    """A command as a block shows it.

    Attributes:
        text: as it is typed, its comment included.
        output: the lines below it.
    """

    text: str
    output: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        """As a shell splits it."""
        return shlex.split(self.text, comments=True)


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    text = read(page)
    for found in FENCE.finditer(text):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[3].strip(), found[4])


def prose(page: str) -> str:
    """What a page says outside its blocks."""
    return FENCE.sub("", read(page))


def typed(block: Block) -> list[Typed]:
    """The commands of a block of the language console, each with the output that is shown.

    Raises:
        ValueError: the block begins with something else.
    """
    first, *others = re.split(rf"^{re.escape(PROMPT)}", block.text.replace("\\\n", " "), flags=re.MULTILINE)
    if first or not others:
        raise ValueError(f"{block.name}: a block of the language console begins with {PROMPT!r} and a command")
    return [Typed(line, tuple(output)) for line, *output in (other.splitlines() for other in others)]
