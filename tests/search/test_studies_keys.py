"""What names a training, and the file of lines that holds what came of it."""

import errno
import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from studying import training

from spnas_core.errors import ArchiveError, ConfigError, MachineError
from spnas_search.studies import (
    TrainingKey,
)
from spnas_search.studies.trainings import TrainingFile, read_trainings

NAMES = st.text("abcdef", min_size=1, max_size=4)
KEYS = st.builds(
    TrainingKey,
    NAMES,
    NAMES,
    st.integers(0, 99),
    st.integers(0, 9),
    st.dictionaries(NAMES.filter(lambda name: name != "code"), st.integers(-9, 9) | NAMES, max_size=2).map(
        lambda extra: tuple(extra.items())
    ),
)


class TestKeys:
    def test_seed_and_number_never_change(self):
        key = TrainingKey("b@8_11-21", "warm-start", 4, 2, (("path", "ab12"), ("data", "small")))
        assert (key.seed(7), key.seed(8), key.number) == (1066992529, 1577458376, 269757425922321)
        assert TrainingKey("b@8_11-21", "scratch", 4, 2).seed(0) == 1714638269

    @given(st.lists(KEYS, unique=True, min_size=2, max_size=8))
    def test_different_keys_differ_in_seed_and_number(self, keys):
        assert len({key.seed(0) for key in keys}) == len({key.number for key in keys}) == len(keys)

    @given(KEYS)
    def test_reading_is_the_inverse_of_writing(self, key):
        read = TrainingKey.read(json.loads(json.dumps(key.as_dict())))
        assert (read, read.number, read.seed(3)) == (key, key.number, key.seed(3))

    def test_the_order_of_extra_fields_does_not_count(self):
        one = TrainingKey("a", "b", 1, 0, (("x", 1), ("y", 2)))
        assert one == TrainingKey("a", "b", 1, 0, (("y", 2), ("x", 1)))

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (("a", "b", -1, 0), "the epochs of a training are -1"),
            (("a", "b", 1, 0.0), "the repetition of a training are 0.0"),
            (("a", "b", True, 0), "the epochs of a training are True"),
            (("a", None, 1, 0), "the field 'how' of a training is None"),
            (("a", "b", 1, 0, (("x", 0.5),)), "the field 'x' of a training is 0.5"),
            (("a", "b", 1, 0, (("code", "c"),)), "take a name twice"),
        ],
    )
    def test_refusals(self, fields, message):
        with pytest.raises(ConfigError, match=message):
            TrainingKey(*fields)


class TestTheFile:
    def test_what_is_appended_is_read(self, tmp_path):
        path = tmp_path / "trainings.jsonl"
        with TrainingFile(path) as file:
            for number in range(3):
                file.append(training(number))
            file.append(training(3, metrics={}, cost={}, reason="the loss is NaN"))
        found = read_trainings(path)
        assert [one.key.repetition for one in found.trainings.values()] == [0, 1, 2, 3]
        assert repr(list(found.trainings.values())[1]) == repr(training(1))
        assert math.isnan(found.trainings[training(0).key].metrics["LAMR"])
        assert found.trainings[training(3).key].has_failed
        assert not found.note
        assert all(json.loads(line) for line in path.read_text().splitlines())

    def test_of_two_lines_of_one_key_the_last_counts(self, tmp_path):
        with TrainingFile(tmp_path / "t") as file:
            file.append(training(1, metrics={}, reason="no luck"))
            file.append(training(1))
        assert not read_trainings(tmp_path / "t").trainings[training(1).key].has_failed

    def test_a_cut_anywhere_loses_the_cut_line_and_no_other(self, tmp_path):
        path = tmp_path / "t"
        with TrainingFile(path) as file:
            for number in range(3):
                file.append(training(number))
        whole = path.read_bytes()
        ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            complete = sum(end <= size for end in ends)
            found = read_trainings(path)
            assert len(found.trainings) == complete
            assert bool(found.note) == (size not in {0, *ends})
            if size % 7:
                continue
            with TrainingFile(path) as file:
                assert file.note == found.note
                file.append(training(9))
            again = read_trainings(path)
            assert not again.note
            assert [key.repetition for key in again.trainings] == [*range(complete), 9]

    def test_zeros_after_a_power_cut_are_dropped(self, tmp_path):
        (tmp_path / "t").write_bytes(b"\0" * 40)
        assert "the last line was cut off" in read_trainings(tmp_path / "t").note

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{not json}", "t, line 2: it is no JSON; restore a copy"),
            ("[1]", "t, line 2: the field 'metrics' is missing"),
            (
                '{"code": "a", "how": "b", "epochs": 1, "metrics": {}, "cost": {}}',
                "line 2: the field 'digest' is missing",
            ),
            ('{"metrics": {"AP": "high"}, "cost": {}}', "line 2: a field is of another kind"),
            ("", "line 2: it is no JSON"),
        ],
    )
    def test_another_line_that_is_damaged_is_named(self, tmp_path, line, message):
        path = tmp_path / "t"
        with TrainingFile(path) as file:
            file.append(training(0))
        path.write_text(f"{path.read_text()}{line}\n{path.read_text()}")
        with pytest.raises(ArchiveError, match=message):
            read_trainings(path)

    @pytest.mark.parametrize("fails", ["write", "fsync"])
    def test_a_full_disk_leaves_the_file_as_it_was(self, tmp_path, monkeypatch, fails):
        path = tmp_path / "t"
        with TrainingFile(path) as file:
            file.append(training(0))
            before, write = path.read_bytes(), os.write

            def half(descriptor, data):
                monkeypatch.setattr(os, "write", full)
                return write(descriptor, data[: len(data) // 2])

            def full(*_):
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(os, fails, half if fails == "write" else full)
            with pytest.raises(MachineError, match="No space left on device"):
                file.append(training(1))
            monkeypatch.undo()
            assert path.read_bytes() == before
            file.append(training(1))
        assert len(read_trainings(path).trainings) == 2

    def test_every_line_is_on_the_disk_before_it_counts(self, tmp_path, monkeypatch):
        synced = []
        with TrainingFile(tmp_path / "t") as file:
            monkeypatch.setattr(os, "fsync", lambda _: synced.append((tmp_path / "t").read_text().count("\n")))
            file.append(training(0))
            file.append(training(1))
        assert synced == [1, 2]
