"""Files are complete or absent, whoever writes them, how often at once, and wherever a link leads."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spnas_core.commands.writing import write_result
from spnas_core.durable import unfinished, whole_file, write_durably
from spnas_core.errors import ConfigError

LONG = 20_000


WRITER = """
import sys
from pathlib import Path
from spnas_core.durable import write_durably
for _ in range(40):
    write_durably(Path(sys.argv[1]), sys.argv[2] * int(sys.argv[3]))
"""


def test_two_that_write_one_file_do_not_meet(tmp_path):
    path, torn = tmp_path / "report.html", set()
    path.write_text("a" * LONG)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, letter, str(LONG)]) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        torn |= {path.read_text()} - {"a" * LONG, "b" * LONG}
    assert [writer.wait() for writer in writers] == [0, 0]
    assert not torn
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_file_that_is_not_finished_leaves_what_there_was(tmp_path, is_durable):
    path = tmp_path / "picture.png"
    path.write_text("old")

    def fail() -> None:
        with whole_file(path, is_durable=is_durable) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert path.read_text() == "old"


def test_what_a_killed_writer_has_left_is_found_and_nothing_else(tmp_path):
    path = tmp_path / "run[1].toml"
    with whole_file(path) as temporary:
        temporary.write_text("whole")
        (tmp_path / ".run1.toml.9-ab.new").touch()
        (tmp_path / "run[1].toml.new").touch()
        assert list(unfinished(path)) == [temporary]


def test_the_longest_name_that_a_file_may_have_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    write_durably(path, "text")
    assert path.read_text() == "text"


def test_a_link_leads_to_the_file_that_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "page.html", tmp_path / "link.html"
    target.write_text("old")
    link.symlink_to(target)
    write_result(link, "new", "--out")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_result(pipe, "text", "--out")
    reader.join(10)
    assert read == ["text"]
    assert pipe.is_fifo()
    write_result(Path(os.devnull), "text", "--out")
    assert not Path(os.devnull).is_file()


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written: Is a directory; name another file by --out"):
        write_result(tmp_path, "text", "--out")
