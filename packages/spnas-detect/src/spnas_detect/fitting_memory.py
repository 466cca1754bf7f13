"""Less at a time, for what does not fit in memory."""

from spnas_detect.settings import DetectionSettings
from spnas_detect.training import smaller_parts


def smaller(settings: DetectionSettings, *, pretrains: bool) -> DetectionSettings:
    """Return settings that compute less at a time; the same where nothing can be less.

    Args:
        settings: of an evaluation that did not fit in memory.
        pretrains: whether it classifies, too; then the batches of that have half as many images.
    """
    training = settings.training.model_copy(update={"accumulate": smaller_parts(settings.training)})
    found = settings.model_copy(update={"training": training})
    if not pretrains:
        return found
    halved = settings.pretraining.model_copy(update={"batch_size": max(2, settings.pretraining.batch_size // 2)})
    return found.model_copy(update={"pretraining": halved})
