"""What the Ray executor decides and refuses before there is a cluster; nothing here imports Ray."""

import fcntl
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from spnas_core.errors import ConfigError
from spnas_search.executors.ray import reaching, settings
from spnas_search.executors.ray.losses import Loss, Node, elsewhere, failure, too_small
from spnas_search.executors.ray.node_folder import NodeFolder
from spnas_search.executors.ray.parcels import checksum_of, fetch
from spnas_search.executors.resources import share_cores
from spnas_search.settings import resolve

SMALL, LARGE = Node("s", "small", {"CPU": 2.0}), Node("l", "large", {"CPU": 8.0, "GPU": 2.0, "memory": 2.0**34})


def executor(**values):
    return resolve({"task": {"name": "null"}, "executor": {"name": "ray", **values}}).executor


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(settings, "find_spec", lambda name: name)


def test_a_lost_evaluation_is_tried_elsewhere_until_its_retries_are_used_up():
    first, second = Loss("NodeDiedError", "s", "small"), Loss("WorkerCrashedError", "l", "large")
    assert failure([first], 1) is None
    assert failure([first], 0) == "lost once with its node or worker, at last on small: NodeDiedError"
    assert failure([first, second], 1) == "lost 2 times with its node or worker, at last on large: WorkerCrashedError"
    assert failure([Loss("NodeDiedError")], 0) == "lost once with its node or worker, at last: NodeDiedError"
    assert elsewhere([SMALL, LARGE], [first], {"CPU": 1}) == "l"
    assert elsewhere([SMALL, LARGE], [second], {"CPU": 1}) == "s"
    assert elsewhere([SMALL, LARGE], [second], {"CPU": 4}) is None  # too small: Ray may take the same one again
    assert elsewhere([SMALL, LARGE], [first, second], {"CPU": 1}) is None


def test_what_no_node_can_hold_is_said():
    assert too_small([SMALL, LARGE], {"CPU": 8, "GPU": 1}) is None
    found = too_small([SMALL, LARGE], {"CPU": 4, "memory": 2.0**35})
    assert found == (
        "no node of the Ray cluster has 4 CPU core(s), 32 GiB of memory for an evaluation (small 2 CPU core(s), 0 GiB "
        "of memory; large 8 CPU core(s), 16 GiB of memory): lower executor.cpus, executor.gpus or executor.memory, or "
        "add a node"
    )


def test_evaluations_at_a_time_follow_from_the_settings(monkeypatch):
    found = share_cores(executor(cores=8, cpus=2), 16)
    assert (found.workers, found.threads) == (4, 2)
    assert share_cores(executor(cores=8), 5).workers == 5
    monkeypatch.setattr(reaching, "check_reachable", lambda address: None)
    found = share_cores(executor(address="head:6379", cpus=3), 40)
    assert (found.workers, found.threads) == (40, 3)
    assert share_cores(executor(address="head:6379", workers=500)).workers == 500


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gpus": 1.5}, r"executor.gpus.*1\.5.*a part of a GPU is below 1"),
        ({"node_folder": "here"}, "node_folder is here: it must be absolute"),
        ({"address": "auto", "cores": 4}, "cores says how large a cluster of this machine is"),
        ({"cpus": 0}, "executor.cpus"),
        ({"adress": "auto"}, "did you mean 'address'"),
    ],
)
def test_impossible_settings_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        executor(**values)


def test_too_few_cores_of_this_machine_are_named():
    with pytest.raises(ConfigError, match=r"executor.workers is 3 and executor.cpus 2, on 4 CPU core\(s\)"):
        share_cores(executor(cores=4, cpus=2, workers=3))
    with pytest.raises(ConfigError, match=r"executor.workers is 1 and executor.cpus 8, on 4 CPU core\(s\)"):
        share_cores(executor(cores=4, cpus=8))


def test_without_ray_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"python3 -m pip install 'spnas-search\[ray\]'"):
        share_cores(executor())
    assert "spnas-search[ray]" in settings.why_untestable()


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(reaching, "_PROBE", "import time\nprint('imported', flush=True)\ntime.sleep(60)")
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 10\.0\.0\.1:6379 within 0\.3 s: check"):
        reaching.check_reachable("10.0.0.1:6379")
    monkeypatch.setattr(reaching, "ANSWER_SECONDS", 20)
    monkeypatch.setattr(reaching, "_PROBE", "print('imported')\nraise RuntimeError('Version mismatch: 3.12')")
    with pytest.raises(ConfigError, match=r"10\.0\.0\.2:6379 cannot be used: RuntimeError: Version mismatch: 3\.12;"):
        reaching.check_reachable("10.0.0.2:6379")


def test_what_killed_runs_have_left_on_a_node_goes_when_the_next_one_comes(tmp_path):
    for name in ("dead", "alive"):
        (tmp_path / "runs" / name / "weights").mkdir(parents=True)
        (tmp_path / "runs" / name / "lock").touch()
    held = os.open(tmp_path / "runs" / "alive" / "lock", os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_SH)
    try:
        folder = NodeFolder.of_run(tmp_path, "ours")
        with folder.workplace("3-1") as place:
            assert {path.name for path in (tmp_path / "runs").iterdir()} == {"alive", "ours"}
            assert place.is_dir()
        assert {path.name for path in folder.run.iterdir()} == {"weights", "lock"}
    finally:
        os.close(held)


class FromTheStore:
    """Ray, as far as weights to inherit are fetched: references are the bytes themselves."""

    exceptions = SimpleNamespace(RayError=RuntimeError)

    def __init__(self) -> None:
        self.fetched = 0

    def get(self, reference):
        self.fetched += 1
        return reference


def test_a_node_keeps_the_weights_that_were_used_last_and_takes_none_from_who_is_at_work(tmp_path):
    ray, folder = FromTheStore(), NodeFolder.of_run(tmp_path, "run")
    contents = [np.full(100, number, np.uint8) for number in range(50)]

    def inherit(number: int, wanted: Path) -> None:
        fetch(ray, contents[number], checksum_of(contents[number]), folder.weights, wanted)
        assert np.array_equal(np.fromfile(wanted, np.uint8), contents[number])

    with folder.workplace("99-1") as busy:
        inherit(7, busy / "inherited")
        for number in range(50):
            with folder.workplace(f"{number}-1") as place:
                inherit(number, place / "inherited")
            with folder.workplace("0-2") as place:
                inherit(0, place / "inherited")
        assert ray.fetched == 50  # the one that is used again and again stays
        kept = {path.name for path in folder.weights.iterdir()}
        assert kept == {checksum_of(content) for content in (contents[0], *contents[35:])}
        assert np.array_equal(np.fromfile(busy / "inherited", np.uint8), contents[7])
        inherit(7, busy / "again")
        assert ray.fetched == 51


def test_the_page_on_clusters_has_every_setting_with_its_default():
    page = (Path(__file__).resolve().parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", page, re.MULTILINE))
    fields = {name: field.default for name, field in settings.RaySettings.model_fields.items() if name != "name"}
    assert rows.pop("node_folder") == "`/tmp/spnas-UID`"
    assert fields.pop("node_folder") is None
    said = {"none": None}
    assert {name: said.get(text, text.strip("`")) for name, text in rows.items()} == {
        name: default if default is None else f"{default:g}" if isinstance(default, float) else str(default)
        for name, default in fields.items()
    }
