"""The last evaluation of a search: its winner is trained for use."""

from spnas_core.morphisms import identity
from spnas_core.tasks import Fidelity
from spnas_search.archive import Archive, Proposal
from spnas_search.settings import RunSettings
from spnas_search.strategies import CheckedStrategy


def training_proposals(archive: Archive, settings: RunSettings, strategy: CheckedStrategy) -> tuple[Proposal, ...]:
    """Return the winner's training where it is asked for and still missing.

    It goes on from the weights that the search has left, or begins with fresh ones, and is scored on test images.
    """
    winner, epochs = archive.winner, settings.training_epochs(wanted=strategy.trains_winner)
    if winner is None or not epochs or archive.trained_winner is not None:
        return ()
    parent = None if settings.final.train_fresh else archive.trained(winner).id
    same = identity(winner.architecture)
    return (Proposal("trained", parent, same, Fidelity(epochs), "test", winner.id),)
