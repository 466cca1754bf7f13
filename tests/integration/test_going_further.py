"""After its end: a search that judged nothing goes on, and what was trained for use is verified."""

from commands import NULL, budget, done, rows

import spnas_search
from spnas_search.run.overview import look_at
from spnas_search.run.verification import verify_run

SEARCH = (*NULL, *budget(2, 0), "--set", "task.noise=0.02")


def silent(*_):
    """Nobody is told how far reading is."""


def test_a_search_without_finalists_and_verdict_goes_on_after_its_end_and_again(tmp_path):
    """Nothing was judged, so more may be chosen."""
    out = tmp_path / "run"
    done("run", "random", *SEARCH, "--set", "final.rescores=0", "--out", out)
    before = rows(out)
    assert look_at(out).state == "ended"
    done("extend", out, "--candidates", 4, "--later")
    assert look_at(out).state == "stopped"
    done("extend", out, "--candidates", 5)
    after = rows(out)
    assert [row["architecture"] for row in after[: len(before)]] == [row["architecture"] for row in before]
    assert sum(row["kind"] == "child" for row in after) == 5
    whole = tmp_path / "whole"
    done("run", "random", *SEARCH, *budget(5, 0), "--set", "final.rescores=0", "--out", whole)
    assert [row["architecture"] for row in rows(whole)] == [row["architecture"] for row in after]


def test_the_weights_that_were_trained_for_use_are_verified_too(tmp_path):
    out = tmp_path / "run"
    done("run", "random", *SEARCH, "--set", "final.train_epochs=2", "--out", out)
    parts = {one.part: one.holds for one in verify_run(out, None, silent)}
    assert parts["trained weights"] is parts["trained score"] is True
    with spnas_search.read_archive(out) as archive:
        path = out / "weights" / f"{archive.trained_winner.id}.safetensors"
    altered = bytearray(path.read_bytes())
    altered[-1] ^= 1
    path.write_bytes(altered)
    parts = {one.part: one.holds for one in verify_run(out, None, silent)}
    assert (parts["weights"], parts["trained weights"]) == (True, False)
    assert "trained weights" not in {one.part for one in verify_run(out, 0, silent)}
