"""Whatever is done to a search, it ends as an undisturbed one, or refuses in one line until that is mended."""

import os
import random
import shutil
import time
from pathlib import Path

import moody_plugin
import odd_plugin
import pytest
from acts import ACTS, MOUNTING, REAL, WITH_WORKERS, nothing, strategy_misbehaves
from click.testing import CliRunner
from mounts import can_mount
from searches import (
    DETECTION,
    FULL_DETECTION,
    INLINE,
    NULL,
    PHASES,
    TRAINING,
    WORKERS,
    Search,
    Training,
    resumed,
)
from voc_folder import write_voc

from spnas_core.plugins import plugin_manager, registry
from spnas_search.cli.main import commands

SHORT, SHORT_PHASES, LONG, TWENTY = 5, 1, 150, 20
SEEDS = {
    "workers": range(2000, 2016),
    "detection": range(3000, 3017),
    "training": range(3000, 3017),
    "phases": range(4000, 4090),
    "full": range(5000, 5010),
}
"""Of the longer proof against each kind of work."""


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


KINDS = {"training": Training} | dict.fromkeys(("inline", "workers", "phases", "detection", "full"), Search)
FORKED = ("inline", "workers", "phases")
SETTINGS = {"detection": DETECTION, "full": FULL_DETECTION, "training": TRAINING}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, _moody):
    """By kind of work: what comes of it, how long it takes, and its settings; measured when first asked for."""
    return _Undisturbed(tmp_path_factory)


class _Undisturbed(dict):
    def __init__(self, factory) -> None:
        super().__init__()
        self._factory = factory

    def __missing__(self, kind: str) -> tuple:
        settings = self._settings(kind)
        seconds = []
        for _ in range(2 if kind in FORKED else 1):  # the first of a kind that is forked warms up
            work = KINDS[kind](self._factory.mktemp(kind) / "run", settings, random.Random(0), 1.0)
            began = time.monotonic()
            with work.running() as child:
                assert child.ended(300.0)
                assert child.code == 0, child.output()
            seconds.append(time.monotonic() - began)
        self[kind] = work.content(), min(seconds), settings
        return self[kind]

    def _settings(self, kind: str) -> list[str]:
        if kind in {"inline", "workers"}:
            return [*NULL, *(INLINE if kind == "inline" else WORKERS)]
        if kind == "phases":
            return [*PHASES, *INLINE]
        data = ["--data", f"voc:{write_voc(self._factory.mktemp('data') / 'voc')}"]
        return [*SETTINGS[kind], *data]


def suffer(tmp_path, undisturbed, seed: int, acts, kind: str) -> None:
    """Do one to three acts to a search or a training, then bring it to its end."""
    rng = random.Random(seed)
    expected, whole, settings = undisturbed[kind]
    search = KINDS[kind](tmp_path / str(seed) / "run", settings, rng, whole)
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
        assert search.content() == expected
    except BaseException as error:
        error.add_note("\n--- ".join([f"seed {seed}, {kind}: {', '.join(done)}", *search.log]))
        raise
    shutil.rmtree(search.out.parent)


def acts_on(tmp_path, kind: str):
    """What may be done to a kind of work."""
    mounting = MOUNTING if can_mount(tmp_path / "mount") else ()
    match kind:
        case "inline":
            return ACTS + mounting
        case "phases":  # all but what looks for the name of the one strategy
            return tuple(act for act in ACTS + mounting if act is not strategy_misbehaves)
        case "workers":
            return WITH_WORKERS
        case "full":  # for which the small disk has no room
            return REAL
    return REAL + mounting


def test_a_dozen_acts(tmp_path, undisturbed):
    for seed in range(SHORT):
        suffer(tmp_path, undisturbed, seed, acts_on(tmp_path, "inline"), "inline")
    for seed in range(SHORT_PHASES):
        suffer(tmp_path, undisturbed, seed, acts_on(tmp_path, "phases"), "phases")
    for kind in ("detection", "training"):
        suffer(tmp_path, undisturbed, 1, REAL, kind)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(9))
def test_many_acts(tmp_path, undisturbed, part):
    for seed in range(1000 + part * LONG // 9, 1000 + (part + 1) * LONG // 9):
        suffer(tmp_path, undisturbed, seed, acts_on(tmp_path, "inline"), "inline")


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("kind", "seeds"), SEEDS.items())
def test_acts_against(tmp_path, undisturbed, kind, seeds):
    for seed in seeds:
        suffer(tmp_path, undisturbed, seed, acts_on(tmp_path, kind), kind)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["inline", "workers", "phases"])
def test_every_act_twenty_times(tmp_path, undisturbed, kind):
    for number, act in enumerate(acts_on(tmp_path, kind)):
        for seed in range(TWENTY):
            suffer(tmp_path, undisturbed, 6000 + 100 * number + seed, (act,), kind)
