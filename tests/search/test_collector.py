"""The collector is paused inside alone, and left as it was, errors included."""

import gc

import pytest

from spnas_search.archive.collector import collector_paused


@collector_paused()
def fail():
    raise RuntimeError(f"collects: {gc.isenabled()}")


@pytest.mark.parametrize("before", [True, False])
def test_the_collector_is_left_as_it_was(before):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(RuntimeError, match="collects: False"):
            fail()
        assert gc.isenabled() == before
    finally:
        (gc.enable if was_enabled else gc.disable)()
