"""What RUN[:ID] stands for, to a search that starts there and to commands that take weights."""

import math
import shutil

import numpy as np
import pytest
from commands import NULL, budget, done, refused, rows
from safetensors.numpy import save_file

import spnas_search
from spnas_core.errors import ArchiveError, WeightsError
from spnas_core.plugins import plugin_manager
from spnas_core.tasks import ResolvedCandidate
from spnas_search.run import CONFIG
from spnas_search.starting_points import starting_point


def resolve(reference) -> ResolvedCandidate | None:
    """Ask as a command does: through the hook."""
    return plugin_manager().hook.spnas_resolve_candidate(reference=str(reference))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished search with the null task: its folder and its candidates."""
    folder = tmp_path_factory.mktemp("runs") / "null"
    executor = {"name": "inline"}
    with spnas_search.search(task={"name": "null"}, executor=executor, budget=6, out=folder, noise_seeds=2) as found:
        return folder, list(found.archive), found.archive.best(1)[0]


def test_a_run_stands_for_its_best_candidate(run):
    folder, _, best = run
    found = resolve(folder)
    assert found.architecture == str(best.architecture)
    assert found.weights == folder / "weights" / f"{best.id}.safetensors"
    assert found.weights.is_file()
    assert found.settings["name"] == "null"
    assert starting_point(str(folder)) == {"start": found.architecture, "init": str(found.weights)}


def test_a_number_names_one_candidate_and_weights_that_are_gone_are_none(run):
    folder, candidates, _ = run
    kept = 0
    for candidate in candidates:
        found = resolve(f"{folder}:{candidate.id}")
        path = folder / "weights" / f"{candidate.id}.safetensors"
        assert found.architecture == str(candidate.architecture)
        assert found.weights == (path if path.exists() else None)
        kept += path.exists()
    assert 0 < kept < len(candidates)


def test_gone_weights_start_no_search(run):
    folder, candidates, _ = run
    gone = next(c.id for c in candidates if not (folder / "weights" / f"{c.id}.safetensors").exists())
    with pytest.raises(ArchiveError, match=f"weights of candidate {gone} .* were not kept"):
        starting_point(f"{folder}:{gone}")


def test_altered_weights_are_refused_by_name_whoever_asks_for_them(run, tmp_path):
    copy = shutil.copytree(run[0], tmp_path / "run")
    kept = sorted((copy / "weights").glob("[0-9]*.safetensors"))
    altered, other = kept[-1], kept[0]
    number = altered.name.split(".")[0]
    assert resolve(f"{copy}:{number}").intact_weights() == altered
    altered.write_bytes(b"x" + altered.read_bytes())
    for _ in range(2):
        with pytest.raises(WeightsError, match=f"{altered} was altered since the search wrote it"):
            resolve(f"{copy}:{number}").intact_weights()
        with pytest.raises(WeightsError, match=f"{altered} was altered"):
            starting_point(f"{copy}:{number}")
        assert starting_point(f"{copy}:{number}", with_weights=False)
        assert resolve(f"{copy}:{number}").architecture  # that can still be looked at
        shutil.copy(other, altered)  # of another candidate


@pytest.mark.parametrize("suffix", ["", ":0", ":best", ":²"])
def test_what_is_no_run_resolves_to_none(tmp_path, suffix):
    file = tmp_path / "weights.safetensors"
    file.touch()
    assert resolve(f"{tmp_path}{suffix}") is None
    assert resolve(f"{file}{suffix}") is None
    assert resolve(f"{tmp_path / 'missing'}{suffix}") is None


def test_a_candidate_that_a_run_does_not_have_is_an_error(run):
    folder, candidates, _ = run
    with pytest.raises(ArchiveError, match=f"has {len(candidates)} candidates: there is no candidate 99"):
        resolve(f"{folder}:99")


def test_a_run_whose_strategy_is_no_longer_installed_still_resolves(run, tmp_path):
    folder, _, best = run
    copy = tmp_path / "copy"
    copy.mkdir()
    text = (folder / CONFIG).read_text()
    (copy / CONFIG).write_text(text.replace('name = "serial"', 'name = "gone"'))
    (copy / "archive.db").write_bytes((folder / "archive.db").read_bytes())
    found = resolve(copy)
    assert found.architecture == str(best.architecture)
    assert found.weights is None


def test_a_code_starts_from_itself_with_fresh_weights(tmp_path):
    assert starting_point("b@8_11-2_0-1") == {"start": "b@8_11-2_0-1"}
    with pytest.raises(ArchiveError, match=r"neither the folder of a run, as RUN or RUN:ID, nor the code .* stage 2"):
        starting_point("b_1--1")
    with pytest.raises(ArchiveError, match="neither the folder of a run"):
        starting_point(str(tmp_path / "missing"))


def test_what_has_failed_starts_no_search(tmp_path):
    task = {"name": "null", "behaviour": {5: "diverge"}}
    with spnas_search.search(task=task, executor={"name": "inline"}, budget=4, out=tmp_path / "run") as found:
        assert found.archive[5].status == "failed"
    with pytest.raises(
        ArchiveError, match=r"candidate 5 of .* failed: the loss is NaN after epoch 1; start from another"
    ):
        starting_point(f"{tmp_path / 'run'}:5")


def test_from_stands_alone_and_of_a_run_gives_the_code_alone_to_a_search_that_trains_from_fresh_weights(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    done("run", "serial", *NULL, *budget(2), "--out", first)
    for option, given in (("--start", "b@8_1-1"), ("--init", "some.safetensors")):
        message = "give --from or --start/--init, not both"
        assert message in refused("run", *NULL, "--from", first, option, given, "--out", second)
    assert not second.exists()
    shutil.rmtree(first / "weights")
    assert "were not kept: choose one" in refused("run", *NULL, "--from", first, "--out", second)
    fresh = (*NULL, *budget(2), "--set", "inherit=none")
    said = done("run", *fresh, "--from", first, "--out", second)
    assert f"of {first} the code alone is taken: inherit = 'none' trains everything from fresh weights" in said
    best = max(rows(first), key=lambda row: -math.inf if row["merit"] is None else row["merit"])
    assert rows(second)[0]["architecture"] == best["architecture"]
    message = "init names weights, and inherit = 'none' trains everything from fresh ones"
    weights = tmp_path / "mine.safetensors"
    save_file({"epochs": np.zeros(1)}, weights)
    assert message in refused("run", *fresh, "--init", weights, "--out", tmp_path / "third")
