"""The folder that holds all files, whatever their names are."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from spnas_detect.data.images.reading import common_folder

NAMES = st.text("ab -.+(", min_size=1, max_size=3).filter(lambda name: name.strip(". ") != "")


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), min_size=1, max_size=6))
def test_it_holds_every_file_and_no_deeper_one_does(paths):
    files = [Path("/", *parts, "image.jpg") for parts in paths]
    found = common_folder(files)
    assert all(file.is_relative_to(found) for file in files)
    assert found == Path(os.path.commonpath([str(file.parent) for file in files]))


def test_names_that_sort_before_a_slash_are_no_part_of_the_folder():
    assert common_folder([Path("/data/a/1.jpg"), Path("/data/a/x/1.jpg"), Path("/data/a-2/x/1.jpg")]) == Path("/data")
    assert common_folder([]) == Path("/")
