"""What an evaluation begins with: the weights that the run was given, another candidate's, or none."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from driving import Scripted, run_settings, scores

from spnas_search.search.loop import _request

GIVEN = Path("init.safetensors")


def begun_with(archive) -> dict[tuple[str, int], object]:
    """By kind and subject, the weights that each evaluation asks for."""
    weights = SimpleNamespace(path=lambda number: number, temporary=lambda number: f"new {number}")
    run = SimpleNamespace(archive=archive, weights=weights, start_weights=lambda: GIVEN)
    return {(one.kind, one.id): _request(run, one).parent_weights for one in archive}


@pytest.mark.parametrize("inherit", ["parent", "warm-start"])
def test_the_start_and_every_fresh_warm_start_begin_with_the_given_weights_and_scratch_with_none(drive, inherit):
    settings = run_settings(ranking="prediction", inherit=inherit, from_scratch=True)
    run = drive(settings, Scripted([(0, 2)], [(3, 2)]), scores(child={3: 0.8, 5: 0.9}))
    run.to_the_end()
    archive, found = run.archive, begun_with(run.archive)
    for one in archive:
        begun = found[one.kind, one.id]
        if one.kind in {"start", "warm"}:
            assert begun == GIVEN
        elif one.kind == "final" and one.parent is None:
            assert begun is None
        else:
            assert begun == one.source is not None
    assert len(archive.of_kind("warm")) == 2
    assert sum(one.parent is None for one in archive.of_kind("final")) == 4


def test_only_what_somebody_may_inherit_writes_its_weights(drive):
    run = drive(run_settings(rescores=1, finalists=1), Scripted([(0, 2)]), scores(child=0.9))
    run.to_the_end()
    weights = SimpleNamespace(path=lambda number: number, temporary=lambda number: number)
    stub = SimpleNamespace(archive=run.archive, weights=weights, start_weights=lambda: None)
    silent = {one.kind for one in run.archive if _request(stub, one).weights is None}
    assert silent == {"final", "replicate"}
