"""A folder holds one thing: whatever begins in it refuses the folder of something else."""

import pytest
from commands import NULL, refused

from spnas_core.occupied import MARKERS, RUN, SERIES, STUDY, TRAINING
from spnas_detect.jobs import TrainFolder
from spnas_detect.jobs.comparison import PLAN, RESULT
from spnas_search.run import RunFolder
from spnas_search.studies.description import CONFIG
from spnas_search.studies.study import TRAININGS

COMMANDS = {
    ("run", "serial", *NULL): {RUN, SERIES},
    ("run", "serial", *NULL, "--seeds", "2"): {RUN, SERIES},
    ("train", "b@8_1-2", "--data", "shapes"): {TRAINING},
    ("study", "signal", *NULL): {STUDY},
}


def test_every_kind_is_known_by_its_files(tmp_path):
    run = RunFolder(tmp_path)
    files = {run.config.name, run.archive.name, run.series.name, TrainFolder(tmp_path).config.name}
    assert files | {CONFIG, TRAININGS, PLAN, RESULT} == set(MARKERS)


@pytest.mark.parametrize("typed", COMMANDS, ids=" ".join)
def test_what_holds_something_else_is_refused_and_stays_as_it_is(tmp_path, typed):
    for name, kind in MARKERS.items():
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).touch()
        message = refused(*typed, "--out", folder)
        if kind not in COMMANDS[typed]:
            assert message == f"error: {folder} holds {kind} ({name}): choose another --out"
        assert [file.name for file in folder.iterdir()] == [name]
