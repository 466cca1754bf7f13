"""Whether a proposal network of ours and one of torchvision's propose the same."""

import torch

from spnas_detect.heads.proposals import Proposals


def recorded_proposals(detector, theirs):
    """Two lists that grow by the proposals of every image, ours and theirs."""
    found, expected, select = [], [], detector.rpn.select

    def selecting(*arguments):
        chosen = select(*arguments)
        found.extend(boxes[is_valid] for boxes, is_valid in zip(*chosen, strict=True))
        return chosen

    detector.rpn.select = selecting
    theirs.rpn.register_forward_hook(lambda module, inputs, output: expected.extend(output[0]))
    return found, expected


def are_same_boxes(one, other):
    """Whether each box of one has one in the other, to a thousandth of a pixel."""
    distances = (one[:, None] - other).abs().amax(-1)
    return len(one) == len(other) and bool((distances.amin(0) <= 1e-3).all() and (distances.amin(1) <= 1e-3).all())


def shared(one, other):
    """The share of two sets of boxes that each has within a thousandth of a pixel in the other, in [0, 1]."""
    is_near = (one[:, None] - other).abs().amax(-1) <= 1e-3
    return float(min(is_near.any(0).float().mean(), is_near.any(1).float().mean()))


def take_their_proposals(detector, theirs):
    """Let our box head look at what theirs has proposed for the same batch, just before.

    Among thousands of overlapping boxes rounding decides now and then which of two stays, and their detections show no
    sign of it. So the two stages are compared one after the other.

    Returns:
        A list that grows by the share of common proposals of every image.
    """
    shares, proposed, select = [], [], detector.rpn.select

    def record(module, inputs, output):
        proposed[:] = output[0]

    def selecting(predictions, sizes):
        own = select(predictions, sizes)
        shares.extend(shared(own.boxes[i][own.is_valid[i]], boxes) for i, boxes in enumerate(proposed))
        padded = torch.nn.utils.rnn.pad_sequence(proposed, batch_first=True)
        counts = torch.tensor([len(boxes) for boxes in proposed])
        return Proposals(padded, torch.arange(padded.shape[1]) < counts[:, None])

    detector.rpn.select = selecting
    theirs.rpn.register_forward_hook(record)
    return shares
