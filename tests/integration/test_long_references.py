"""Codes may be longer than any name of a file, and numbers in them than any number."""

import pytest
from commands import NULL, budget, done, refused

LONG = "b@4_" + "-".join(["1" * 75] * 4)


def test_a_code_that_no_file_could_be_called_is_a_code_everywhere(tmp_path):
    assert "300 blocks" in done("show", LONG, "--image", "64x64")
    done("export", LONG, "--image", "64x64", "--to", "source", "--out", tmp_path / "out")
    space = ("--set", "space.max_blocks=400", "--set", "space.max_multiply_adds=none", *budget(1, finals=0))
    done("run", "random", "--from", LONG, *NULL, *space, "--set", "final.rescores=0", "--out", tmp_path / "run")
    for command in (("show", f"{LONG}:3"), ("run", "--from", f"{LONG}:3", *NULL), ("show", f"runs/{LONG}")):
        assert "too long" not in refused(*command, *(("--out", tmp_path / "x") if command[0] == "run" else ()))


DIGITS = "9" * 5000


@pytest.mark.parametrize(
    "command",
    [
        ("show", f"b@{DIGITS}_11"),
        ("show", f"b_1-1_0-{DIGITS}"),
        ("show", f"g{DIGITS}@8_11"),
        ("show", f"m{DIGITS}k3@8_11"),
        ("show", f"runs/one:{DIGITS}"),
        ("show", "b_11", "--image", f"{DIGITS}x9"),
        ("run", "--set", f"start=b@{DIGITS}_11", *NULL),
    ],
)
def test_numbers_of_thousands_of_digits_are_one_line(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(refused(*command)) < 20_000
