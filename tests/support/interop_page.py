"""Blocks of Python in docs/interop.md, which are run as they stand there."""

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "interop.md").read_text(encoding="utf-8")


def block(text):
    """The page's one block of Python that holds a text."""
    (found,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if text in code]
    return found


def run(code, **names):
    exec(compile(code, "docs/interop.md", "exec"), names)
    return names
