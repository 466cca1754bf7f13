"""What tests of the search share."""

import pytest
from driving import SCORE, Drive
from reported import LOSS, Filled

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


@pytest.fixture
def filled(tmp_path):
    made = Filled(tmp_path / "archive.db")
    yield made
    made.archive.close()


@pytest.fixture
def losing(tmp_path):
    """A search for low losses: 0.8 the start, 0.7 its control, 0.5 the child, which gains 0.2 and has merit 0.6."""
    made = Filled(tmp_path / "losing.db", LOSS)
    yield made.add_all(("start", None, 0.8), ("control", 0, 0.7), ("child", 0, 0.5))
    made.archive.close()
