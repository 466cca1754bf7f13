"""``torch.export``: a program that AOTInductor, ExecuTorch or ``torch.export.load`` take."""

import json
import warnings
from pathlib import Path

import torch

from spnas_core.errors import ExportError
from spnas_core.exporting._base import Exportable


def export_program(network: Exportable, folder: Path, name: str) -> tuple[Path, ...]:
    """Write ``NAME.pt2``: input ``images``, any number of them, a tuple of outputs; facts in its ``facts.json``.

    Raises:
        ExportError: the network cannot be traced, or what was written computes something else.
    """
    path = folder / f"{name}.pt2"
    example = network.images if len(network.images) > 1 else network.images.repeat(2, 1, 1, 1)
    shapes = {"images": {0: torch.export.Dim("batch", min=1)}}
    try:
        program = torch.export.export(network.module, (example,), dynamic_shapes=shapes)
    except Exception as error:
        raise ExportError(f"{network.title} cannot be traced: {' '.join(str(error).split())[:300]}") from error
    torch.export.save(program, path, extra_files={"facts.json": json.dumps(dict(network.facts))})
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of buffers that nobody writes to
        found = torch.export.load(path).module()(network.images)
    network.check(tuple(found), path.name)
    return (path,)
