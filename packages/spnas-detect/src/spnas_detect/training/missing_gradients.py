"""What several processes say of parameters that the losses do not depend on: each would wait for their gradients."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from spnas_core.errors import EvaluationError

_UNFINISHED = "Expected to have finished reduction in the prior iteration"
"""How torch begins to say that some parameters got no gradient in the step before."""

_INDICES = re.compile(r"indices which did not receive grad for rank \d+: ([\d ,]+)")
"""Theirs, among the parameters that are trained."""

_SHOWN = 5


@contextmanager
def explained_missing_gradients(detector: nn.Module) -> Iterator[None]:
    """Name in one line the parameters that the losses of a step did not depend on, and say what to do.

    Args:
        detector: that several processes train.

    Raises:
        EvaluationError: in the place of torch's error.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith(_UNFINISHED):
            raise
        found = _INDICES.search(str(error))
        trained = [name for name, parameter in detector.named_parameters() if parameter.requires_grad]
        names = [trained[int(index)] for index in re.findall(r"\d+", found[1] if found else "")]
        listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise EvaluationError(
            f"the losses of {type(detector).__qualname__} do not depend on {listed or 'some of its parameters'}, whose "
            "gradients several processes would wait for: train with --devices 1"
        ) from error
