"""ONNX, checked by onnxruntime."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spnas_core.errors import ExportError
from spnas_core.exporting._base import Exportable

HINT = "python3 -m pip install onnx onnxruntime onnxscript"
OPSET = 18


def export_onnx(network: Exportable, folder: Path, name: str) -> tuple[Path, ...]:
    """Write ``NAME.onnx``: input ``images``, any number of them, outputs by their names, facts in its metadata.

    Raises:
        ExportError: onnx, onnxscript or onnxruntime are not installed, an operator has no counterpart there, or
            onnxruntime computes something else.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"exporting to ONNX needs {error.name}: {HINT}") from None
    path = folder / f"{name}.onnx"
    # torch specialises a batch of one, so the example has two images where any number shall do.
    example = network.images if len(network.images) > 1 else network.images.repeat(2, 1, 1, 1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecations between torch and its exporter, which no user can act on
        try:
            program: Any = torch.onnx.export(
                network.module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=list(network.outputs),
                dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
                verbose=False,
            )
            program.model.metadata_props.update({key: json.dumps(value) for key, value in network.facts.items()})
            program.save(path, external_data=False)
        except Exception as error:
            path.unlink(missing_ok=True)
            raise ExportError(f"{network.title} cannot be written as ONNX: {_reason(error)}") from error
    network.check(run_onnx(path, network.images), path.name)
    return (path,)


def _reason(error: BaseException) -> str:
    """Say which operator it was: torch's exporter wraps that in several layers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]


def run_onnx(path: Path, images: Tensor) -> tuple[Tensor, ...]:
    """Run an exported network with onnxruntime.

    Args:
        path: of the file.
        images: Tensor[N, 3, H, W].
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return tuple(torch.from_numpy(output) for output in session.run(None, {"images": images.numpy()}))
