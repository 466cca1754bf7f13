"""What tests of detection share."""

import pytest


@pytest.fixture
def folder(tmp_path):
    """Of a data set, with a folder of images in it."""
    (tmp_path / "data" / "images").mkdir(parents=True)
    return tmp_path / "data"
