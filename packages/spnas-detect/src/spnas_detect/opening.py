"""Opening the data that a task's settings name, once for all who look into it before a run begins."""

from spnas_core.once import once
from spnas_core.plugins import registry
from spnas_detect.data import DetectionData, open_data
from spnas_detect.settings import DetectionSettings


def opened(settings: DetectionSettings, *, is_last: bool = False) -> DetectionData:
    """Open the data; inside of ``spnas_core.once.reading_once`` its annotations are read for the first call only.

    Args:
        settings: name the data and its options.
        is_last: whether nobody will need it after this call.

    Raises:
        DataError: the data cannot be used.
    """
    return once(
        repr(("data", settings.data, settings.data_seed, sorted(settings.data_options.items()))),
        lambda: open_data(
            settings.data, seed=settings.data_seed, readers=registry("datasets").items, **settings.data_options
        ),
        is_last=is_last,
    )
