"""Checkpoints: everything that a training needs to go on as if nothing had happened, in one safetensors file.

One file is complete or absent: it is written under another name, synced, and renamed. Reading it executes nothing.

Tensors are called ``model/<name>``, ``average/<name>``, ``optimizer/<key>/<parameter>`` and ``random/<device>/<rank>``.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spnas_core.durable import replace_durably
from spnas_core.errors import MALFORMED, WeightsError
from spnas_detect.training.freezing import Frozen
from spnas_detect.training.optimizer import optimizer_tensors, restore_optimizer
from spnas_detect.training.plateau import Scored
from spnas_detect.training.weights import write_tensors

if TYPE_CHECKING:
    from spnas_detect.training.trainer import Trainer

FILE = "checkpoint.safetensors"
FORMAT = 1
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True)
class CheckpointState:
    """What a checkpoint says of itself.

    Attributes:
        step: finished steps.
        steps: of the whole training.
        updates: of the averaged weights.
        optimizer: kind of the optimiser.
        processes: that trained together.
        data: digest of the content of the data; empty where it was not told.
        settings: of the training, in JSON; empty where they were not told.
        frozen_norms: names of the norms that are not trained; None where the training is older than that choice, and
            all were frozen or none.
        frozen_parameters: names of the parameters that are not trained.
        version: of the format.
        checksum: of the tensors (``tensors_checksum``); empty where the training is older than that.
        versions: of the packages that computed it, by name; none where the training is older than that.
        scores: epoch and value of each score on validation images so far.
    """

    step: int
    steps: int
    updates: int
    optimizer: str
    processes: int
    data: str = ""
    settings: str = ""
    frozen_norms: Sequence[str] | None = None
    frozen_parameters: Sequence[str] = ()
    version: int = FORMAT
    scores: Sequence[Sequence[float]] = ()
    checksum: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def scored(self) -> list[Scored]:
        """The scores so far."""
        return [Scored(int(epoch), value) for epoch, value in self.scores]

    @property
    def frozen(self) -> Frozen | None:
        """What is not trained; None where that follows from the kind of norm alone."""
        if self.frozen_norms is None:
            return None
        return Frozen(tuple(self.frozen_norms), tuple(self.frozen_parameters))


class Snapshot(NamedTuple):
    """Where a training stood at a step: copies, so that it may go on.

    Attributes:
        tensors: on the CPU, contiguous.
        state: of the checkpoint.
    """

    tensors: Mapping[str, Tensor]
    state: CheckpointState


def snapshot(
    trainer: "Trainer",
    *,
    data: str = "",
    settings: str = "",
    scores: Sequence[Scored] = (),
    versions: Mapping[str, str] | None = None,
) -> Snapshot | None:
    """Copy where a training stands; all its processes call this, and the first one gets it.

    Call ``trainer.flush`` beforehand, so that nothing that is not finite is stored.

    Args:
        trainer: between two steps.
        data: digest of the content of the data, for whoever goes on.
        settings: of the training, in JSON, likewise.
        scores: on validation images so far.
        versions: of the packages, for whoever goes on.
    """
    random = _random_states(trainer)
    if not trainer.processes.is_first:
        return None
    tensors = {f"model/{name}": tensor for name, tensor in trainer.detector.state_dict().items()}
    if trainer.average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in trainer.average.tensors().items()}
    optimizer = optimizer_tensors(trainer.detector, trainer.optimizer)
    tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer.items()}
    tensors |= random
    frozen = Frozen.of(trainer.detector)
    state = CheckpointState(
        trainer.step,
        trainer.steps,
        trainer.average.updates if trainer.average is not None else 0,
        trainer.settings.optimizer,
        trainer.processes.count,
        data,
        settings,
        frozen_norms=frozen.norms,
        frozen_parameters=frozen.parameters,
        scores=tuple(scores),
        versions=versions or {},
    )
    return Snapshot({name: _copied(tensor) for name, tensor in tensors.items()}, state)


def write_checkpoint(taken: Snapshot, folder: Path, kept: int = 1) -> None:
    """Write a snapshot; a crash at any moment leaves the checkpoint before it or this one.

    Args:
        taken: what is written.
        folder: of the checkpoints.
        kept: how many stay. Beside ``FILE``, the last one, there are then ``step-<number>.safetensors``, the last one
            among them: the same file by another name, where the file system has such.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE}"
    write_tensors(taken.tensors, temporary, asdict(replace(taken.state, checksum=tensors_checksum(taken.tensors))))
    replace_durably(temporary, folder / FILE)
    if kept > 1:
        _keep_copy(folder / FILE, folder / f"step-{taken.state.step:09}.safetensors")
    named = sorted(folder.glob("step-*.safetensors"))
    # Later ones are of a training that somebody has taken back to an earlier step.
    until_now = [file for file in named if file.name <= f"step-{taken.state.step:09}.safetensors"]
    for file in set(named) - set(until_now[-kept:] if kept > 1 else ()):
        file.unlink()


def save_checkpoint(trainer: "Trainer", folder: Path, *, data: str = "") -> None:
    """Write where a training stands, and wait until that is done; see ``snapshot``."""
    taken = snapshot(trainer, data=data)
    if taken is not None:
        write_checkpoint(taken, folder)


def _copied(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())


def _keep_copy(file: Path, name: Path) -> None:
    """Copy a file, so that whatever is written over the one leaves the other alone."""
    temporary = name.with_name(".step.safetensors")  # one name, so that what a kill leaves is written over
    shutil.copyfile(file, temporary)
    replace_durably(temporary, name)


def load_checkpoint(trainer: "Trainer", folder: Path) -> None:
    """Bring a trainer of the same settings to where the checkpoint's training stood.

    Raises:
        WeightsError: there is no complete checkpoint, or it is of another training; the first five differing tensors
            are named.
    """
    state, tensors = read_checkpoint(folder)
    _check_fits(trainer, folder / FILE, state, tensors)
    try:
        if state.step and not _under("optimizer/", tensors) and trainer.settings.momentum > 0:
            raise ValueError("it has no state of the optimizer")
        with torch.no_grad():
            for name, tensor in trainer.detector.state_dict().items():
                tensor.copy_(tensors[f"model/{name}"])
        restore_optimizer(trainer.detector, trainer.optimizer, _under("optimizer/", tensors))
        if trainer.average is not None:
            trainer.average.restore(_under("average/", tensors), state.updates)
        _restore_random_states(trainer, state, tensors)
    except (RuntimeError, *MALFORMED) as error:
        raise WeightsError(f"{folder / FILE} was altered ({error}): {_way_out(folder)}") from error
    trainer.step = state.step


def read_checkpoint(folder: Path) -> tuple[CheckpointState, dict[str, Tensor]]:
    """Read a checkpoint's state and its tensors, on the CPU.

    Raises:
        WeightsError: there is none, it is damaged or altered, or of another version.
    """
    with _opened(folder) as file:
        state = _state(file, folder)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    if state.checksum not in {"", tensors_checksum(tensors)}:
        raise WeightsError(f"{folder / FILE} was altered: {_way_out(folder)}")
    return state, tensors


def tensors_checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the BLAKE2b digest of contiguous CPU tensors and their names, 64 hexadecimal digits."""
    digest = blake2b(digest_size=32)
    for name in sorted(tensors):
        digest.update(name.encode() + b"\0")
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_state(folder: Path) -> CheckpointState:
    """Read what a checkpoint says of itself, without its tensors.

    Raises:
        WeightsError: there is none, it is damaged, or of another version.
    """
    with _opened(folder) as file:
        return _state(file, folder)


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    """Open a checkpoint for reading."""
    path = folder / FILE
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise WeightsError(f"there is no checkpoint in {folder}: the training stopped before its first one") from None
    except WeightsError:
        raise
    except (SafetensorError, OSError, *MALFORMED) as error:
        raise WeightsError(f"{path} is no complete checkpoint ({error}): {_way_out(folder)}") from error


def _way_out(folder: Path) -> str:
    """Say what to do about a checkpoint that cannot be read."""
    others = sorted(folder.glob("step-*.safetensors"))
    if others:
        return f"put {others[-1].name}, or an earlier one, in its place"
    return f"remove {folder}, and the training begins anew when it goes on"


def has_checkpoint(folder: Path) -> bool:
    """Whether a training has come to its first checkpoint."""
    return (folder / FILE).exists()


def _state(file: Any, folder: Path) -> CheckpointState:
    stored = json.loads((file.metadata() or {})["spnas"])
    version = stored["version"]
    if version != FORMAT:
        raise WeightsError(
            f"{folder / FILE} has version {version}, this spnas reads {FORMAT}: go on with the other spnas"
        )
    state = CheckpointState(**stored)
    for name in ("step", "steps", "updates", "processes"):
        value = getattr(state, name)
        if type(value) is not int or value < 0:
            raise TypeError(f"{name} is {value!r}")
    if state.step > state.steps:
        raise ValueError(f"step is {state.step} of {state.steps}")
    names = (*(state.frozen_norms or ()), *state.frozen_parameters, *state.versions.values())
    if not all(isinstance(name, str) for name in names) or any(len(pair) != 2 for pair in state.scores):
        raise TypeError("scores, versions or what is frozen make no sense")
    return replace(state, scores=[[int(epoch), float(value)] for epoch, value in state.scores])


def _check_fits(trainer: "Trainer", path: Path, state: CheckpointState, tensors: Mapping[str, Tensor]) -> None:
    expected = {f"model/{name}": tensor.shape for name, tensor in trainer.detector.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("model/")}
    differing = [
        f"{name.removeprefix('model/')} ({_shape(found.get(name))} instead of {_shape(expected.get(name))})"
        for name in dict.fromkeys([*expected, *found])
        if expected.get(name) != found.get(name)
    ]
    if differing:
        raise WeightsError(
            f"{path} is of another architecture or detector: {len(differing)} tensors differ, first "
            f"{'; '.join(differing[:SHOWN_DIFFERENCES])}"
        )
    averages = any(name.startswith("average/") for name in tensors)
    for what, then, now in (
        ("optimizer", state.optimizer, trainer.settings.optimizer),
        ("averaged weights", averages, trainer.average is not None),
        ("steps", state.steps, trainer.steps),
    ):
        if then != now:
            raise WeightsError(f"{path} is of a training with other settings: {what} {then} instead of {now}")


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else str(tuple(shape))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _random_states(trainer: "Trainer") -> dict[str, Tensor]:
    """The global random states of all processes, for detectors that draw from those."""
    states = {"cpu": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(trainer.device)
    return {
        f"random/{device}/{rank}": state
        for device, own in states.items()
        for rank, state in enumerate(trainer.processes.gather(own))
    }


def _restore_random_states(trainer: "Trainer", state: CheckpointState, tensors: Mapping[str, Tensor]) -> None:
    # With another number of processes, what each would have drawn is not known: seeding must do.
    if state.processes != trainer.processes.count:
        return
    rank = trainer.processes.rank
    torch.set_rng_state(tensors[f"random/cpu/{rank}"])
    if trainer.device.type == "cuda" and f"random/cuda/{rank}" in tensors:
        torch.cuda.set_rng_state(tensors[f"random/cuda/{rank}"], trainer.device)
