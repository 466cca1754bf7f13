"""The Ray executor on a cluster of two nodes: the contract, what travels, and what is lost."""

import importlib.util
import threading
from dataclasses import dataclass

import pytest
from commands import budget, done
from ray_cluster import ray_cluster
from safetensors.numpy import load_file
from waiting import wait_until
from worker_tasks import PreparedElsewhere, Unreadable

from spnas_core.encoding import Architecture
from spnas_core.errors import ConfigError, DataError
from spnas_core.morphisms import identity
from spnas_core.tasks import EvaluationRequest, Fidelity
from spnas_search.archive import Archive
from spnas_search.driver import run_search
from spnas_search.executors import evaluate_all, executor_plugin
from spnas_search.executors.ray.executor import RayExecutor
from spnas_search.executors.ray.mailbox import Mail, Postman
from spnas_search.executors.ray.settings import RaySettings
from spnas_search.monitors import Silent
from spnas_search.planning import plan_search
from spnas_search.run import start_run
from spnas_search.testing import ExecutorContract, NullTask

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install 'spnas-search[ray]'", allow_module_level=True)

SAME = identity(Architecture.parse("b@8_1-1"))
PLAIN = NullTask()
KILL, HANG = 100, 101


@pytest.fixture(scope="module", autouse=True)
def nodes(tmp_path_factory):
    """Two nodes of two cores; the last test takes the second one away."""
    TestContract.settings = {"node_folder": tmp_path_factory.mktemp("node")}
    with ray_cluster(2, 2) as (cluster, nodes):
        yield cluster, nodes


def request(candidate, **changes) -> EvaluationRequest:
    given = {"parent_weights": None, "weights": None, "epochs": 2, "seed": candidate} | changes
    given["fidelity"] = Fidelity(given.pop("epochs"))
    return EvaluationRequest(candidate, SAME, **given)


def executor(tmp_path, task=PLAIN, workers=4, report=lambda _: None, **settings):
    return RayExecutor(RaySettings(node_folder=tmp_path / "node", **settings), task, workers, report)


class TestContract(ExecutorContract):
    plugin = executor_plugin("ray")


def test_there_are_as_many_places_as_the_nodes_have_room_for_and_no_more_than_workers(tmp_path):
    for workers, cpus, places in ((100, 1, 4), (3, 1, 3), (100, 2, 2), (100, 3, 1)):
        with executor(tmp_path, workers=workers, cpus=cpus) as ray:
            assert ray.places == places


def planned(cluster, folder, budget, **settings):
    """What is foreseen of a search without rounds, of evaluations that take a 50th of a second."""
    task = {"name": "null", "duration": 0.02}
    ray = {"name": "ray", "address": cluster.address, "node_folder": str(folder / "node"), **settings}
    plain = {"strategy": {"name": "random"}, "asynchronous": True, "noise_seeds": 2}
    final = {"seeds": 0, "rescores": 0}
    return plan_search({"task": task, "executor": ray, "final": final, "budget": budget, **plain}, lambda *_: None)


@pytest.mark.parametrize(
    ("settings", "workers", "of"), [({"cpus": 2}, 2, 256), ({"workers": 9}, 4, 9), ({"workers": 3}, 3, None)]
)
def test_a_plan_counts_on_the_workers_that_the_cluster_has_room_for(
    tmp_path, nodes, monkeypatch, settings, workers, of
):
    monkeypatch.setattr("spnas_search.executors.ray.reaching.check_reachable", lambda address: None)
    plan = planned(nodes[0], tmp_path, {"candidates": 2}, **settings)
    assert plan.workers == workers
    assert plan.seconds == pytest.approx(sum(phase.seconds for phase in plan.phases) / workers)
    said = f"the executor 'ray' has a place for {workers} now, of {of} evaluations at a time"
    assert plan.remark == ("" if of is None else said)


def test_hours_have_time_for_what_the_places_of_the_cluster_can_do(tmp_path, nodes, monkeypatch):
    monkeypatch.setattr("spnas_search.executors.ray.reaching.check_reachable", lambda address: None)
    monkeypatch.setattr("spnas_search.planning.MOST_CHILDREN", 100)
    assert planned(nodes[0], tmp_path, {"hours": 0.25 / 3600}).seconds == pytest.approx(0.25, abs=0.12)


def test_a_plan_for_a_cluster_of_this_machine_counts_on_its_places(tmp_path):
    """The connection that is there stands for that cluster: it has fewer places than cores are said to be here."""
    ray = {"name": "ray", "cores": 16, "node_folder": str(tmp_path / "node")}
    options = [word for key, value in ray.items() for word in ("--set", f"executor.{key}={value}")]
    said = done("plan", "random", "--set", "task.name=null", "--set", "asynchronous=true", *budget(2), *options)
    assert "with 4 workers" in said
    assert "workers: the executor 'ray' has a place for 4 now, of 16 evaluations at a time" in said


def test_weights_travel_and_nothing_stays_on_the_node(tmp_path):
    told = []
    with executor(tmp_path, report=told.append) as ray:
        asked = [request(number, weights=tmp_path / f"{number}.safetensors") for number in range(3)]
        for outcome in evaluate_all(ray, asked):
            assert outcome.request in asked
            assert outcome.reason == outcome.trace == ""
            assert load_file(outcome.request.weights)["epochs"] == [2]
        further = [
            request(number, parent_weights=tmp_path / "0.safetensors", weights=tmp_path / f"{number}.safetensors")
            for number in (3, 4, 5)
        ]
        assert [outcome.reason for outcome in evaluate_all(ray, further)] == [""] * 3
        assert load_file(tmp_path / "5.safetensors")["epochs"] == [4]
        (run,) = (tmp_path / "node" / "runs").iterdir()
        assert len([file for file in (run / "weights").iterdir() if not file.name.startswith(".")]) == 1
        assert {path.name for path in run.iterdir()} == {"weights", "lock"}
    assert list((tmp_path / "node" / "runs").iterdir()) == []
    assert {(one.done, one.total) for one in told if one.note == "null" and one.candidate == 3} >= {(0, 2), (2, 2)}


def test_what_an_evaluation_saw_delivered_is_there_when_all_letters_are_asked_for():
    import ray

    mail = Mail(ray, ray.get_runtime_context().get_node_id())
    for attempt in range(300):
        postman = Postman(ray, mail.actor, 7, attempt)
        postman.post("came", "somewhere")
        postman.settle()
        assert (7, attempt) in {letter[1:3] for letter in mail.take(everything=True)}
    mail.close()


def test_a_lost_worker_is_replaced_a_few_times_and_a_late_evaluation_ends(tmp_path):
    task = NullTask(behaviour={KILL: "kill", HANG: "hang"})
    with executor(tmp_path, task, retries=1, timeout=2.0) as ray:
        found = {one.request.candidate: one for one in evaluate_all(ray, [request(n) for n in (0, KILL, HANG, 1)])}
    assert found[0].evaluation
    assert found[1].evaluation
    assert found[KILL].reason.startswith("lost 2 times with its node or worker, at last on ")
    assert found[KILL].reason.endswith(": WorkerCrashedError")
    assert found[HANG].reason == "no result within 2 s"
    assert list((tmp_path / "node" / "runs").iterdir()) == []


def test_a_result_that_the_search_cannot_read_fails_its_candidate_only(tmp_path):
    with executor(tmp_path, Unreadable()) as ray:
        found = {one.request.candidate: one for one in evaluate_all(ray, [request(number) for number in range(4)])}
    assert [number for number, outcome in found.items() if outcome.evaluation is None] in ([1, 2], [2, 1])
    assert "the receipt of the task holds a UnreadableError" in found[1].reason


@dataclass(frozen=True)
class Unsendable(NullTask):
    lock: object = None


def test_what_cannot_be_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be sent to other machines .*: make it picklable"):
        executor(tmp_path, Unsendable(lock=threading.Lock()))
    with (
        executor(tmp_path, gpus=2, patience=0.5) as ray,
        pytest.raises(ConfigError, match=r"no node of the Ray cluster has 1 CPU core\(s\), 2 GPU\(s\) .*, 0 GPU\(s\)"),
    ):
        list(evaluate_all(ray, [request(0)]))
    other = executor(tmp_path)
    other._installed = ({"torch": "0.1"}, {})
    with other as ray, pytest.raises(ConfigError, match=r"node \S+: torch is \S+ there and 0.1 here; every node needs"):
        list(evaluate_all(ray, [request(0)]))


def test_data_is_prepared_once_per_node_and_must_be_the_same(tmp_path):
    with executor(tmp_path, PreparedElsewhere()) as ray:
        assert [one.reason for one in evaluate_all(ray, [request(n) for n in range(4)])] == [""] * 4
    assert (tmp_path / "node" / "cache" / "prepared").read_text() == "once\n"
    with (
        executor(tmp_path, PreparedElsewhere(fails=True)) as ray,
        pytest.raises(DataError, match=r"node .*: no images"),
    ):
        list(evaluate_all(ray, [request(0)]))


def ended(folder):
    with Archive.read(folder / "archive.db") as archive:
        return [
            (one.id, one.round, one.kind, str(one.architecture), one.status, dict(one.metrics), one.seed, one.checksum)
            for one in archive
        ]


def test_a_node_is_killed_in_the_middle_of_a_search(tmp_path, nodes):
    """Nothing is lost, nothing is there twice, and the archive is that of a search in one process."""

    def search(folder, duration, monitor, **executor):
        task = {"name": "null", "noise": 0.01, "duration": duration}
        values = {"task": task, "budget": {"candidates": 8}, "final": {"seeds": 2, "rescores": 1}, "executor": executor}
        values["strategy"] = {"name": "serial", "round": 4}
        with start_run(folder, values, lambda *_: None) as run:
            run_search(run, monitor)
        return ended(folder)

    class Killer(Silent):
        """Kills the second node while it evaluates."""

        killed = 0

        def progress(self, progress):
            busy = [path.name for path in (tmp_path / "node" / "runs").glob("*/*-1-*")]
            if progress.candidate >= 5 and not self.killed and len(busy) >= 3:
                self.killed = len(busy)
                cluster.remove_node(nodes_[1], allow_graceful=False)

    cluster, nodes_ = nodes
    killer = Killer()
    on_nodes = search(tmp_path / "ray", 0.5, killer, name="ray", workers=4, cores=4, node_folder=str(tmp_path / "node"))
    assert killer.killed >= 3  # more than the first node's two: at least one of them was lost
    assert wait_until(lambda: sum(node["Alive"] for node in cluster_state()) == 1)
    assert on_nodes == search(tmp_path / "inline", 0.0, Silent(), name="inline", cores=1)
    assert all(one[4] == "done" for one in on_nodes)
    assert list((tmp_path / "node" / "runs").iterdir()) == []


def cluster_state():
    import ray

    return ray.nodes()
