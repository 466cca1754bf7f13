"""Which tensors of a file are not those of a network."""

from collections.abc import Mapping

from torch import Tensor

from spnas_core.errors import WeightsError


def differing_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], what: str) -> list[str]:
    """Name every tensor that is missing, of another shape, or too many, with both shapes.

    Args:
        expected: the network's own, by name.
        found: those of a file.
        what: the tensors are of, for those that are too many.
    """
    differing = [
        f"{name} ({'missing' if name not in found else tuple(found[name].shape)} instead of {tuple(tensor.shape)})"
        for name, tensor in expected.items()
        if name not in found or found[name].shape != tensor.shape
    ]
    return differing + [f"{name} (not in this {what})" for name in found if name not in expected]


def told(differing: list[str]) -> str:
    """Count them, and show the first five."""
    return f"{len(differing)} tensors differ, first {'; '.join(differing[:5])}"


def check_same(network: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Refuse the tensors of another network.

    Raises:
        WeightsError: the first five that differ.
    """
    if differing := differing_tensors(expected, found, "network"):
        raise WeightsError(f"the weights are not those of {network}: {told(differing)}")
