"""A file with a candidate's name is complete, and what is damaged is noticed."""

import os
from pathlib import Path

import pytest

from spnas_core.errors import WeightsError
from spnas_search.archive import WeightStore


@pytest.fixture
def store(tmp_path):
    return WeightStore(tmp_path / "weights")


def put(store: WeightStore, candidate: int, content: bytes = b"weights") -> str:
    temporary = store.temporary(candidate)
    temporary.write_bytes(content)
    return store.commit(temporary, candidate)


def names(store: WeightStore) -> set[str]:
    return {path.name for path in store.folder.iterdir()}


def test_commit_names_the_file_and_verify_knows_it(store):
    checksum = put(store, 3)
    assert names(store) == {"3.safetensors"}
    assert store.path(3).read_bytes() == b"weights"
    assert len(checksum) == 64
    assert store.verify(3, checksum)
    assert WeightStore(store.folder).verify(3, checksum)
    assert put(store, 4) == checksum
    assert put(store, 5, b"other") != checksum


def test_the_file_is_synced_before_it_gets_its_name_and_the_folder_after(store, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_replace(path, target):
        done.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    temporary = store.temporary(0)
    temporary.write_bytes(b"x")
    store.commit(temporary, 0)
    assert done == [temporary.name, "renamed", "weights"]


@pytest.mark.parametrize("fresh", [True, False])
def test_missing_truncated_and_altered_files_do_not_verify(store, fresh):
    checksum = put(store, 1)
    path = store.path(1)
    for content in (b"weight", b"Weights", b""):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1 + len(content)))
        assert not (WeightStore(store.folder) if fresh else store).verify(1, checksum)
    path.unlink()
    assert not (WeightStore(store.folder) if fresh else store).verify(1, checksum)
    path.write_bytes(b"weights")
    assert store.verify(1, checksum)


def test_an_unchanged_file_is_read_once(store, monkeypatch):
    checksum = put(store, 1)
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args: opened.append(path) or original(path, *args))
    assert store.verify(1, checksum)
    assert opened == []
    again = WeightStore(store.folder)
    assert again.verify(1, checksum)
    assert again.verify(1, checksum)
    assert not again.verify(1, "0" * 64)
    assert opened == [store.path(1)]


def test_temporaries_are_hidden_and_never_the_same(store):
    paths = [store.temporary(1) for _ in range(3)]
    assert len(set(paths)) == 3
    assert all(path.name.startswith(".") and path.parent == store.folder for path in paths)


def test_clean_removes_only_what_others_left(store):
    ours, theirs = store.temporary(1), store.folder / ".1-99999-0.safetensors"
    # A killed process may have had the number that is ours now.
    namesake = store.folder / f".7-{os.getpid()}-55.safetensors"
    for path in (ours, theirs, namesake, store.folder / ".keep"):
        path.write_bytes(b"half")
    put(store, 2)
    store.clean()
    assert names(store) == {ours.name, "2.safetensors", ".keep"}
    store.discard(ours)
    store.discard(ours)
    assert names(store) == {"2.safetensors", ".keep"}


def test_keep_only_deletes_the_weights_of_others_and_nothing_else(store):
    for candidate in (1, 2, 30):
        put(store, candidate)
    (store.folder / "mine.safetensors").write_bytes(b"")
    half = store.temporary(4)
    half.write_bytes(b"")
    store.keep_only([2, 99])
    assert names(store) == {"2.safetensors", "mine.safetensors", half.name}


def test_an_evaluation_that_wrote_nothing_is_said_so(store):
    with pytest.raises(WeightsError, match="candidate 6 has written no weights"):
        store.commit(store.temporary(6), 6)
