"""What an evaluation begins with: the weights that the run was given, another candidate's, or none."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from driving import START, Scripted, run_settings, scores

from spnas_core.encoding import Architecture
from spnas_core.morphisms import align, identity
from spnas_search.driver.loop import _request

GIVEN, FROM_GIVEN = Path("init.safetensors"), align(Architecture.parse("b@8_11-21"), START)


def begun_with(archive) -> dict[tuple[str, int], tuple]:
    """By kind and number, the weights that each evaluation asks for, and how it inherits them."""
    weights = SimpleNamespace(path=lambda number: number, temporary=lambda number: f"new {number}")
    given = {"start_weights": lambda: GIVEN, "start_rewrite": lambda: FROM_GIVEN, "sharing": None}
    run = SimpleNamespace(archive=archive, weights=weights, **given)
    asked = {(one.kind, one.id): _request(run, one) for one in archive}
    return {key: (request.parent_weights, request.rewrite) for key, request in asked.items()}


@pytest.mark.parametrize("inherit", ["parent", "warm-start"])
def test_the_start_and_every_fresh_warm_start_begin_with_the_given_weights_and_scratch_with_none(drive, inherit):
    settings = run_settings(ranking="prediction", inherit=inherit, from_scratch=True)
    run = drive(settings, Scripted([(0, 2)], [(3, 2)]), scores(child={3: 0.8, 5: 0.9}))
    run.to_the_end()
    archive, found = run.archive, begun_with(run.archive)
    for one in archive:
        begun, rewrite = found[one.kind, one.id]
        assert (rewrite is FROM_GIVEN) == (one.kind in {"start", "warm"})
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
    given = {"start_weights": lambda: None, "start_rewrite": lambda: identity(START), "sharing": "parts"}
    stub = SimpleNamespace(archive=run.archive, weights=weights, **given)
    silent = {one.kind for one in run.archive if _request(stub, one).weights is None}
    assert silent == {"final", "replicate"}
    assert {one.kind for one in run.archive if _request(stub, one).sharing is not None} == {"start"}
