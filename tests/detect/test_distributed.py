import subprocess
import sys
from pathlib import Path

import process_scenarios
import pytest
import torch
from process_scenarios import BATCH, PARTLY_READ, TRAININGS, scored, sync_norm
from tiny_training import SHAPES, losses_of, make_trainer

from spnas_core.errors import ConfigError, DataError, EvaluationError
from spnas_detect.data import build_cache, open_cache, open_data
from spnas_detect.heads.normalisation import global_draw, normaliser
from spnas_detect.processes import ALONE, joined_processes, launch
from spnas_detect.processes.launcher import attempt
from spnas_detect.training import part_size, read_state
from spnas_detect.training.settings import TrainingSettings


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = open_data("shapes", seed=0, **SHAPES)
    return build_cache(data, tmp_path_factory.mktemp("cache"), image_size=(64, 64)).folder


@pytest.fixture(scope="module")
def both(cache):
    """What each of two processes has found."""
    return launch(process_scenarios.everything, (cache,), 2)


def test_the_normaliser_is_the_mean_count_and_at_least_one_box_in_all(both):
    for found in both:
        assert found["normaliser"] == (3 + 5) / 2
        assert found["nothing"] == 1 / 2
    assert [found["untouched"] for found in both] == [3, 5]
    assert normaliser(torch.tensor(3)).item() == 3
    assert normaliser(torch.tensor(0)).item() == 1


def test_an_image_is_drawn_the_same_noise_whichever_process_has_it(both):
    alone = global_draw((4, 7), torch.Generator().manual_seed(3), torch.device("cpu"))
    assert both[0]["noise"] + both[1]["noise"] == alone.tolist()


def test_synchronised_norms_compute_what_one_process_computes_from_the_whole_batch(both):
    outputs, inputs, weight, *statistics = map(torch.tensor, sync_norm(BATCH))
    found = [[torch.tensor(values) for values in one["norm"]] for one in both]
    torch.testing.assert_close(torch.cat([found[0][0], found[1][0]]), outputs)
    torch.testing.assert_close(torch.cat([found[0][1], found[1][1]]), inputs)
    torch.testing.assert_close(found[0][2] + found[1][2], weight)
    for one in found:
        for expected, value in zip(statistics, one[3:], strict=True):
            torch.testing.assert_close(value, expected)


def test_two_processes_score_as_one_and_the_first_one_has_the_numbers(both, cache):
    scores, boxes, told = scored(open_cache(cache).split("train"), ALONE)
    assert any(0 < value < 1 for value in scores.values())
    assert both[0]["scored"][:2] == [scores, boxes]
    assert both[1]["scored"][:2] == [{}, []]
    assert told[-1] == both[0]["scored"][2][-1] == [len(boxes), len(boxes)]


def test_tensors_are_the_first_processs_for_a_while(both):
    assert [found["alike"] for found in both] == [[[0.0], [0.0]], [[0.0], [1.0]]]


@pytest.mark.parametrize("name", list(TRAININGS))
def test_two_processes_have_the_losses_and_weights_of_one(both, cache, name):
    trainer = make_trainer(open_cache(cache).split("train"), **TRAININGS[name])
    alone = losses_of(trainer)
    assert len(alone) == 24
    for found in both:
        assert len(found[name]) == 24
        for one, other in zip(alone, found[name], strict=True):
            assert one.keys() == other.keys()
            assert one == pytest.approx(other, rel=1e-6, abs=1e-5)  # losses are up to a hundred, in float32
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.detector.parameters()])
    assert both[0][f"{name} weights"] == both[1][f"{name} weights"]
    torch.testing.assert_close(torch.tensor(both[0][f"{name} weights"]), weights, atol=1e-4, rtol=1e-3)


def test_two_processes_train_backbones_of_any_kind_whose_last_stages_nobody_reads(both):
    assert [found["partly read"] for found in both] == [dict.fromkeys(PARTLY_READ, 6)] * 2


def test_two_processes_train_necks_with_parts_that_nobody_reads(both):
    assert [found["idle necks"] for found in both] == [[6, 6]] * 2


def test_parameters_that_the_losses_do_not_depend_on_are_named(both):
    said = (
        "the losses of TinyDetector do not depend on spare.weight, spare.bias, whose gradients several processes would "
        "wait for: train with --devices 1"
    )
    assert [found["without gradients"] for found in both] == [said] * 2


def test_where_one_process_is_asked_to_stop_all_stop_after_the_same_step(both):
    assert [found["stopping"] for found in both] == [[5, True], [5, True]]


def test_a_slow_disk_holds_up_no_process(both, cache):
    assert [found["slow disk"] for found in both] == [6, 6]
    assert read_state(cache.parent).step == 6


def test_a_loss_that_is_not_finite_in_one_process_is_reported_by_all_with_its_images(both, cache):
    assert both[0]["diverging"] == both[1]["diverging"]
    message = both[0]["diverging"]
    assert message.startswith("the loss is not finite at step 3 of 18: loss_count nan, loss_size nan; images ")
    assert "; last finite losses, at step 2: loss_count" in message
    split = open_cache(cache).split("train")
    order = make_trainer(split).loader.order(0)
    assert f"images {', '.join(split.names[index] for index in order[10:12])};" in message


def test_values_are_gathered_in_order_of_rank(both):
    assert [found["rank"] for found in both] == [0, 1]
    assert [found["gathered"] for found in both] == [[[0], [1]]] * 2


def test_a_process_that_is_killed_ends_the_others_and_is_named(capfd):
    with pytest.raises(
        EvaluationError, match=r"^rank 1 \(process \d+\) was killed by SIGKILL: the training has stopped"
    ):
        launch(process_scenarios.ending, ("kill",), 2)
    written = capfd.readouterr()
    assert "Traceback" not in written.out + written.err


@pytest.mark.slow
def test_a_mistake_that_one_process_meets_is_the_mistake_of_all():
    with pytest.raises(DataError, match=r"^the second process has met a mistake$"):
        launch(process_scenarios.ending, ("mistake",), 2)


def raising(error):
    raise error


def test_what_becomes_of_a_process_is_told_apart():
    assert (attempt(len, ([1],)).ending, attempt(len, ([1],)).value) == ("done", 1)
    mistake = attempt(raising, (DataError("no box"),))
    assert (mistake.ending, mistake.error, mistake.text) == ("refused", "DataError", "no box")
    assert attempt(raising, (EvaluationError("NaN"),)).ending == "failed"
    assert attempt(raising, (torch.distributed.DistNetworkError("gone"),)).ending == "deserted"
    assert (
        attempt(raising, (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"),)).ending == "deserted"
    )
    fault = attempt(raising, (KeyError("a fault"),))
    assert fault.ending == "crashed"
    assert "KeyError: 'a fault'" in fault.text


def test_a_batch_that_cannot_be_shared_out_evenly_is_refused():
    settings = TrainingSettings(batch_size=12, accumulate=2)
    assert part_size(settings, 3) == 6
    with pytest.raises(ConfigError, match=r"must be a multiple of training\.accumulate 2 times 4 devices"):
        part_size(settings, 4)


def test_an_environment_of_torchrun_without_a_meeting_place_is_refused(monkeypatch):
    with joined_processes("cpu") as processes:
        assert processes == ALONE
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ConfigError, match="RANK is set and MASTER_PORT not"), joined_processes("cpu"):
        pass


@pytest.mark.slow
def test_torchrun_starts_the_same_processes(tmp_path, cache):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(process_scenarios.__file__).parent)!r})\n"
        "from process_scenarios import torchrun\n"
        "torchrun(sys.argv[1])\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--local-addr"]
    subprocess.run([*command, "127.0.0.1", str(script), str(tmp_path)], check=True, timeout=300)
    assert sorted(path.read_text() for path in tmp_path.glob("rank-*")) == ["0 of 2, mean 0.5", "1 of 2, mean 0.5"]
