"""What a loss is divided by, and what a sample is drawn with, when a batch is spread over several processes.

Each process computes the losses of its own images, and gradients (and reported losses) are averaged over the processes.
With these two functions that average is what one process would compute from the whole batch: a head divides every sum
by ``normaliser(count)``, and draws every random number that belongs to an image by ``global_draw``.

Example: two processes sampled 3 and 5 boxes with loss sums 6 and 2. One process would report (6 + 2) / (3 + 5) = 1.
Means of their own, 6/3 and 2/5, average to 1.2; with the normaliser (3 + 5) / 2 = 4, 6/4 and 2/4 average to 1.
"""

import torch
from torch import Tensor, distributed


def normaliser(count: Tensor) -> Tensor:
    """Return what a sum of losses over this process's images is divided by.

    Args:
        count: scalar Tensor, of any type: how many terms the sum has in this process, at least 0.

    Returns:
        The count, at least 1; with several processes max(1, sum of all counts) / processes, as float32. No gradient
        flows, and the host does not wait.
    """
    processes = _processes()
    if processes == 1:
        return count.clamp(min=1)
    total = count.detach().to(torch.float32, copy=True)
    distributed.all_reduce(total)
    return total.clamp_(min=1).div_(processes)


def global_draw(
    shape: tuple[int, int], generator: torch.Generator | None, device: torch.device, branches: int = 1
) -> Tensor:
    """Draw uniform noise for this process's images: the same for an image, whichever process has it.

    Args:
        shape: (N, A), where N is the number of images of this process, times that of branches; all processes must have
            as many.
        generator: in the same state in all processes; the device's default one where it is None.
        device: of generator and noise.
        branches: of the backbone, whose rows stand one branch after the other; an image's draws are together all the
            same.

    Returns:
        float32[N, A] in [0, 1): this process's rows of what one process draws for the whole batch.
    """
    images, width, processes = shape[0] // branches, shape[1], _processes()
    noise = torch.rand((images * processes, branches * width), generator=generator, device=device)
    if processes > 1:
        first = distributed.get_rank() * images
        noise = noise[first : first + images]
    return noise if branches == 1 else noise.view(images, branches, width).transpose(0, 1).reshape(shape)


def _processes() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
