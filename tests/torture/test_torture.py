"""Whatever is done to a search, it ends as an undisturbed one, or refuses in one line until that is mended."""

import os
import random
import shutil
import time
from pathlib import Path

import moody_plugin
import odd_plugin
import pytest
from click.testing import CliRunner
from acts import ACTS, MOUNTING, WITH_WORKERS, nothing
from mounts import can_mount
from searches import INLINE, NULL, WORKERS, Search, content, resumed

from spnas_core.plugins import plugin_manager, registry
from spnas_search.cli.main import commands

SHORT, LONG, WORKER_ACTS = 20, 180, 20


@pytest.fixture(scope="module", autouse=True)
def _moody(tmp_path_factory):
    """The moody plugin, here and in every child; where it looks for its mood, and where children print to."""
    folder = tmp_path_factory.mktemp("mood")
    before = dict(os.environ)
    os.environ[moody_plugin.VARIABLE] = str(folder / "mood.json")
    os.environ["SPNAS_TEST_LOGS"] = str(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(odd_plugin.__file__).parent), before.get("PYTHONPATH", "")])
    plugin_manager().register(moody_plugin, name="moody-plugin")
    registry.cache_clear()
    CliRunner().invoke(commands, ["plugins"])  # everything is imported before the first child is forked
    yield
    plugin_manager().unregister(moody_plugin)
    registry.cache_clear()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _moody):
    """What the archive holds, and how long it takes, by executor."""
    found = {}
    for name, executor in (("inline", INLINE), ("workers", WORKERS)):
        seconds = []
        for _ in range(2):  # the first one warms up
            search = Search(tmp_path_factory.mktemp(name) / "run", [*NULL, *executor], random.Random(0), 1.0)
            began = time.monotonic()
            with search.running() as child:
                assert child.ended(120.0)
                assert child.code == 0, child.output()
            seconds.append(time.monotonic() - began)
        found[name] = content(search.out), min(seconds)
    assert found["inline"][0] == found["workers"][0]
    return found


def suffer(tmp_path, undisturbed, seed: int, acts, executor: str) -> None:
    """Do one to three acts to a search, then bring it to its end."""
    t0 = time.monotonic()
    rng = random.Random(seed)
    expected, whole = undisturbed[executor]
    options = INLINE if executor == "inline" else WORKERS
    search = Search(tmp_path / str(seed) / "run", [*NULL, *options], rng, whole)
    done = []
    try:
        for _ in range(rng.choice([1, 1, 2, 3])):
            act = rng.choice(acts)
            done.append(act.__name__)
            mend = act(search)
            # What may be refused is tried at once; otherwise the next act may find a search that is half-way.
            if (mend is not nothing or rng.random() < 0.3) and resumed(search) is not None:
                mend()
        assert resumed(search) is None, "after it was mended"
        assert content(search.out) == expected
    except BaseException:
        print(f"seed {seed}, {executor}: {', '.join(done)}", *search.log, sep="\n--- ")
        raise
    if os.environ.get("SPNAS_TEST_TIMES"): print(seed, done, round(time.monotonic()-t0,1), round(whole,1))
    shutil.rmtree(search.out.parent)


def acts(tmp_path):
    return ACTS + MOUNTING if can_mount(tmp_path / "mount") else ACTS


def test_twenty_acts(tmp_path, undisturbed):
    for seed in range(SHORT):
        suffer(tmp_path, undisturbed, seed, acts(tmp_path), "inline")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(9))
def test_many_acts(tmp_path, undisturbed, part):
    for seed in range(1000 + part * LONG // 9, 1000 + (part + 1) * LONG // 9):
        suffer(tmp_path, undisturbed, seed, acts(tmp_path), "inline")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_acts_against_worker_processes(tmp_path, undisturbed):
    for seed in range(2000, 2000 + WORKER_ACTS):
        suffer(tmp_path, undisturbed, seed, WITH_WORKERS, "workers")
