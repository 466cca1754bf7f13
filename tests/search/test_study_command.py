"""`spnas study signal`, as typed."""

import errno
import math
import os

import pytest
from commands import done, invoke, refused
from matplotlib.figure import Figure
from studying import scratch, started

from spnas_core.commands.console import make_console
from spnas_search.cli.studies.shared import TrainingLines
from spnas_search.studies import SignalStudy, pages, read_signal_results
from spnas_search.studies.opened import OpenedStudy
from spnas_search.studies.signal_plot import _draw_way

PNG = b"\x89PNG\r\n\x1a\n"
NULL = ("--set", "task.name=null", "--set", "executor.name=inline", "--set", "warm_start_epochs=3")
SMALL = ("--codes", "4", "--trainings", "2", "--epochs", "4", "--child-epochs", "1,2")


class TestTheCommand:
    def test_a_task_without_luck_shows_everything(self, tmp_path):
        out = tmp_path / "s"
        text = done("study", "signal", *NULL, *SMALL, "--out", out)
        results = read_signal_results(out)
        for result in results.arms:
            assert (result.heritability.share, result.heritability.low) == (pytest.approx(1), pytest.approx(1))
            assert result.with_truth.value == result.with_inherited.value == 1
        jobs = len(results.plan.jobs)
        epochs = sum(job.fidelity.epochs for job in results.plan.jobs)
        first = next(line for line in text.splitlines() if "trainings in each way" in line)
        assert first == f"4 codes × 2 trainings in each way: {jobs} trainings with {epochs} epochs in all"
        assert text.index(first) < text.index(f"1/{jobs}  ")
        assert f"{jobs}/{jobs}  " in text
        assert (out / "signal.png").read_bytes().startswith(PNG)
        assert f"| scratch 4 | 4.0 | 8 | {results.of(results.plan.truth).mean:.3f} |" in (out / "signal.md").read_text()
        assert not list((out / "weights").iterdir())

    def test_a_study_is_extended_and_shown(self, tmp_path):
        out = tmp_path / "s"
        done("study", "signal", *NULL, *SMALL, "--set", "task.noise=0.05", "--leave-out", "double", "--out", out)
        before = (out / "trainings.jsonl").read_text()
        shown = done("study", "signal", "--out", out, "--report")
        assert "scratch 8" not in shown
        extended = done(
            *("study", "signal", "--out", out, "--resume", "--codes", "5", "--trainings", "3"),
            *("--leave-out", "nothing", "--child-epochs", "1,2,4"),
        )
        after = (out / "trainings.jsonl").read_text()
        assert after.startswith(before)
        assert "5 codes × 3 trainings in each way" in extended
        assert " are to be done; about " in extended
        assert "scratch 8" in extended
        done("study", "signal", "--out", out, "--resume")
        assert (out / "trainings.jsonl").read_text() == after
        fresh = tmp_path / "fresh"
        done("study", "signal", *NULL, *SMALL, "--set", "task.noise=0.05", "--out", fresh)
        ours = {str(key): one.metrics for key, one in trainings_of(out).items()}
        assert all(ours[str(key)] == one.metrics for key, one in trainings_of(fresh).items())

    def test_ctrl_c_says_how_to_go_on(self, tmp_path, monkeypatch):
        def fill(self, listener, **_):
            raise KeyboardInterrupt

        monkeypatch.setattr(SignalStudy, "fill", fill)
        out = tmp_path / "s"
        result = invoke("study", "signal", *NULL, *SMALL, "--out", out)
        assert result.exit_code == 130
        assert f"go on with: spnas study signal --out {out} --resume" in result.output
        monkeypatch.undo()
        done("study", "signal", "--out", out, "--resume")

    def test_lost_results_leave_the_page_as_it_was(self, tmp_path):
        out = tmp_path / "s"
        done("study", "signal", *NULL, *SMALL, "--out", out)
        before = (out / "signal.md").read_text()
        (out / "trainings.jsonl").unlink()
        message = refused("study", "signal", "--out", out, "--report")
        assert message.startswith(f"error: {out / 'trainings.jsonl'} is missing, and with it all results: restore")
        assert (out / "signal.md").read_text() == before

    def test_a_page_that_cannot_be_written_keeps_no_table_back(self, tmp_path, monkeypatch):
        out = tmp_path / "s"
        text = done("study", "signal", *NULL, *SMALL, "--out", out)

        def full(*_):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(out / ".signal.png.new"))

        monkeypatch.setattr(pages, "whole_file", full)
        *tables, last = done("study", "signal", "--out", out, "--report").splitlines()
        assert last == f"The page and the plot in {out} could not be written: Read-only file system"
        assert "\n".join(tables) in text

    def test_failures_are_told_and_tried_again(self, tmp_path):
        out = tmp_path / "s"
        given = ("--set", "task.behaviour={3='diverge'}", "--set", "alike_failures=99")
        text = done("study", "signal", *NULL, *SMALL, *given, "--out", out)
        assert "failed: the loss is NaN after epoch 1" in text
        assert "Trainings that failed and count nowhere: 1" in text
        text = done("study", "signal", "--out", out, "--resume", "--retry-failed")
        assert text.count("failed: the loss is NaN after epoch 1") == 1

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["--codes", "2"], "signal study: codes is 2: input should be greater than or equal to 3"),
            (["--trainings", "1"], "signal study: trainings is 1: input should be greater than or equal to 2"),
            (["--epochs", "0"], "signal study: epochs is 0"),
            (["--child-epochs", "1,x"], "--child-epochs '1,x' must be whole numbers with commas in between"),
            (["--child-epochs", "1,7"], "child epochs are 7: they must be 1 or more, and at most the truth's 6"),
            (["--set", "warm_start_epochs=0"], "warm_start_epochs is 0, and a study's trainings take twice as many"),
            (["--set", "warm_start_epochs=0", "--epochs", "4"], "warm_start_epochs is 0, and nothing can inherit"),
            (["--set", "init=x.safetensors"], "a signal study trains from fresh weights"),
            (["--set", "space.max_blocks=7"], "8 blocks where max_blocks = 7"),
            (["--set", "space.max_blocks=8", "--set", "space.max_stages=4", "--codes", "900"], "and 900 are wanted"),
            (["--set", "objective=scor"], "did you mean 'score'?"),
            (["--set", "executor.name=inlin"], "did you mean 'inline'?"),
            (["--retry-failed"], "--retry-failed goes with --resume"),
            (["--accept-versions"], "--accept-versions goes with --resume"),
            (["--report"], "--report shows what is there"),
            (["--config", "nowhere.toml"], "cannot read the configuration nowhere.toml"),
        ],
    )
    def test_refusals_are_one_line_and_leave_nothing(self, tmp_path, given, message):
        out = tmp_path / "s"
        assert message in refused("study", "signal", *NULL, *given, "--out", out)
        assert not out.exists()

    def test_refusals_of_going_on(self, tmp_path):
        out = tmp_path / "s"
        for option in ("--resume", "--report"):
            assert "holds no study: there is no study.toml in it" in refused("study", "signal", "--out", out, option)
        done("study", "signal", *NULL, *SMALL, "--out", out)
        assert "holds a study already" in refused("study", "signal", *NULL, "--out", out)
        again = ("study", "signal", "--out", out, "--resume")
        assert "was made with task.noise = 0.0, not 0.5" in refused(*again, "--set", "task.noise=0.5")
        assert "has split = 'validation', not 'test'" in refused(*again, "--split", "test")
        assert "from fresh weights" in refused(*again, "--set", "init=x.safetensors")
        (out / "study.toml").write_text((out / "study.toml").read_text().replace("seed = 0", "seed = 1"))
        assert "was altered" in refused(*again)


def test_a_line_per_training_plans_nothing_anew(tmp_path, capsys):
    planned = []

    class Planning(OpenedStudy):
        @property
        def jobs(self):
            planned.append(len(self.study.results.trainings))
            return [scratch(repetition=number) for number in range(8)]

    with Planning(started(tmp_path / "s")) as opened:
        opened.fill(TrainingLines(opened, make_console()))
        assert not opened.missing_jobs
    assert planned == [0, 0, 8]
    *_, before, last = capsys.readouterr().out.splitlines()
    assert before.startswith("7/8  scratch of ")
    assert last.startswith("8/8  scratch of ")
    assert last.endswith("0:00 left")


def trainings_of(folder):
    from spnas_search.studies import read_study

    return read_study(folder, "signal")[1].trainings


def test_correlations_without_an_interval_are_drawn_without_one(tmp_path):
    """Of four codes there is none, and where nothing is noisy there is none of more."""
    done("study", "signal", *NULL, *SMALL, "--out", tmp_path / "s")
    results = read_signal_results(tmp_path / "s")
    axes = Figure().subplots()
    _draw_way(axes, results, "none", 1.0)
    line, caps, _ = axes.containers[0].lines
    assert list(line.get_ydata()) == [1.0, 1.0]
    assert all(math.isnan(y) for cap in caps for y in cap.get_ydata())
