"""The page of promises names tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_promise_names_tests_that_exist():
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| **")]
    assert len(rows) > 15
    for promise, _, tests in rows:
        named = re.findall(r"`([^`]+)`", tests)
        assert named, promise
        for name in named:
            assert (ROOT / "tests" / name).exists(), name
