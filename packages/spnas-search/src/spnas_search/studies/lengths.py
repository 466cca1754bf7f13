"""How long trainings of a study take where nobody says."""

from spnas_core.errors import ConfigError
from spnas_search.settings import RunSettings


def truth_epochs(settings: RunSettings, chosen: object) -> object:
    """Return the epochs of a study's trainings from fresh weights: what was chosen, else twice the warm start's.

    Raises:
        ConfigError: nothing was chosen, and there is no warm start.
    """
    if chosen is not None:
        return chosen
    if not settings.warm_start_epochs:
        raise ConfigError(
            "warm_start_epochs is 0, and a study's trainings take twice as many epochs where nothing is said: say it "
            "by --epochs"
        )
    return 2 * settings.warm_start_epochs
