"""How images are resized: as torchvision does it, bilinear with antialiasing."""

from torch import Tensor


def resize(image: Tensor, width: int, height: int) -> Tensor:
    """Resize an image to whole pixels.

    Args:
        image: uint8 or float[C, h, w].
        width: in pixels, at least 1.
        height: likewise.

    Returns:
        The image's type[C, height, width].
    """
    # Only whoever resizes waits for it: importing it brings in torch's compiler, and takes almost as long as torch.
    from torchvision.transforms.v2 import functional

    resized: Tensor = functional.resize(image, [height, width], antialias=True)
    return resized
