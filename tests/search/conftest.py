"""What tests of the search share."""

import pytest
from driving import SCORE, Drive

from spnas_search.archive import Archive


@pytest.fixture
def drive(tmp_path):
    """Makes searches that are driven by hand."""
    opened = []

    def drive(settings, strategy, evaluate, objective=SCORE) -> Drive:
        archive = Archive.create(
            tmp_path / f"{len(opened)}.db",
            objective=objective,
            run_seed=settings.seed,
            ranking=settings.ranking,
            inherit=settings.inherit,
        )
        opened.append(archive)
        return Drive(archive, settings, strategy, evaluate)

    yield drive
    for archive in opened:
        archive.close()
