"""Where children see a smaller canvas, all sizes that a training draws shrink with it."""

from spnas_core.tasks import Fidelity
from spnas_detect.settings import DetectionSettings


def test_sizes_that_are_drawn_keep_their_ratio_to_the_canvas():
    settings = DetectionSettings(image_size=(128, 96), training={"image_sizes": [[96, 64], [128, 96]]})
    whole, half, least = (settings.at(Fidelity(1, size)) for size in (None, (64, 48), (32, 32)))
    assert whole.training.image_sizes == ((96, 64), (128, 96))
    assert (half.image_size, half.training.image_sizes) == ((64, 48), ((48, 32), (64, 48)))
    assert least.training.image_sizes == ((32, 32), (32, 32))
    assert DetectionSettings().at(Fidelity(1, (64, 64))).training.image_sizes is None
