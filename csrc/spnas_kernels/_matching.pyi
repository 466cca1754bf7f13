import numpy as np
from numpy.typing import NDArray

def match(
    detections: NDArray[np.float64],
    scores: NDArray[np.float64],
    detection_images: NDArray[np.int64],
    truths: NDArray[np.float64],
    truth_images: NDArray[np.int64],
    ignored: NDArray[np.bool_],
    regions: NDArray[np.bool_] | None,
    iou_threshold: float,
    inclusive: bool,
    pixel_offset: float,
    flags_the_best: bool,
    threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]: ...
