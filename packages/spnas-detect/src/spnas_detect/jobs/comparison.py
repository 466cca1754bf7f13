"""Several architectures, each trained alike on several seeds: the call behind ``spnas compare``."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spnas_core.backbones import read_network
from spnas_core.commands.json_text import to_json
from spnas_core.configuration import validate
from spnas_core.cost import Latency, backbone_cost, latency_device, measure_latencies
from spnas_core.durable import write_durably
from spnas_core.errors import MALFORMED, ConfigError
from spnas_detect.data import CachedData
from spnas_detect.folders import explained_writing
from spnas_detect.jobs.checks import check_buildable, check_settings
from spnas_detect.jobs.folder import TrainFolder, check_same_data, flattened, read_scores, scored_split
from spnas_detect.jobs.monitor import Monitor, Silent
from spnas_detect.jobs.session import TrainingResult, train
from spnas_detect.jobs.settings import MAY_CHANGE, TrainSettings
from spnas_detect.jobs.versions import changed_versions, installed_versions
from spnas_detect.metrics import metric_factory
from spnas_detect.metrics.intervals import Interval, mean_interval
from spnas_detect.preparation import prepare_data

PLAN, RESULT = "plan.json", "compare.json"
PLACE, CONTENT, VERSIONS = "data", "content", "versions"
"""Keys of the plan: where the data lies, the digest of its content, empty until it was first read, and the packages."""

_DECIDE = ("patience", "min_delta", "score_every", "score_split")
"""What may differ when one training is resumed, and not between trainings that are compared: when they end, and on
which images they are scored."""
_FREE = MAY_CHANGE - {*_DECIDE}


@dataclass(frozen=True)
class Compared:
    """An architecture and how it did.

    Attributes:
        architecture: its code.
        parameters: of the backbone.
        multiply_adds: of the backbone for one image.
        scores: one per seed.
        mean: of the scores.
        difference: to the first architecture, seed by seed; None for the first itself.
        latency: of the backbone for one image; None where it was not measured.
    """

    architecture: str
    parameters: int
    multiply_adds: int
    scores: tuple[float, ...]
    mean: Interval
    difference: Interval | None
    latency: Latency | None = None


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        metric: that the scores are of.
        seeds: of the trainings.
        compared: in the order given.
        split: what the images are called that the scores are of: ``test``, or ``test = validation``.
        latency_device: on which latencies were measured; None where none was.
        higher_is_better: direction of the metric; differences are of the scores as they are.
    """

    metric: str
    seeds: tuple[int, ...]
    compared: tuple[Compared, ...]
    split: str
    latency_device: str | None = None
    higher_is_better: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it, None where undefined."""
        rows = []
        for one in self.compared:
            difference = None
            if one.difference is not None:
                difference = {**one.difference.as_dict(), "excludes_zero": one.difference.excludes_zero}
            rows.append(
                {
                    "architecture": one.architecture,
                    "parameters": one.parameters,
                    "multiply_adds": one.multiply_adds,
                    "scores": [score if math.isfinite(score) else None for score in one.scores],
                    "mean": one.mean.as_dict(),
                    "difference": difference,
                    "latency": None if one.latency is None else one.latency.as_dict(),
                }
            )
        return {
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "split": self.split,
            "seeds": list(self.seeds),
            "latency_device": self.latency_device,
            "architectures": rows,
        }


def difference_sentence(row: Mapping[str, Any], first: str, *, higher_is_better: bool) -> str:
    """Say what the difference of an architecture to the first one means.

    Args:
        row: of the architecture, as ``Comparison.as_dict`` has it, after the first one's.
        first: the first architecture.
        higher_is_better: direction of the metric.
    """
    name, difference = row["architecture"], row["difference"] or {}
    if difference.get("low") is None:
        return f"{name}: too few defined scores for an interval."
    excludes = difference["excludes_zero"]
    if excludes is None:
        return f"{name}: all differences to {first} are the same, which says nothing of chance."
    if not excludes:
        return f"{name}: no clear difference to {first}; the interval includes zero."
    word = "better" if (difference["mean"] > 0) == higher_is_better else "worse"
    return f"{name}: {word} than {first}; the interval of the difference excludes zero."


def compare(
    settings: Sequence[TrainSettings],
    seeds: int,
    out: Path,
    *,
    monitor: Monitor | None = None,
    cache: Path | None = None,
    latency_on: str | None = None,
    accept_versions: bool = False,
) -> Comparison | TrainingResult:
    """Train and score every architecture with seeds that count up from its settings' own.

    Args:
        settings: one per architecture; nothing but ``architecture`` and ``init`` differs.
        seeds: trainings of each.
        out: folder; what is finished in it is read back, what was stopped goes on.
        monitor: is told what happens; nobody by default.
        cache: folder of cached images, where others share it; inside ``out`` by default.
        latency_on: device on which the backbones' latencies are measured in the end; None measures none.
        accept_versions: whether other versions of the packages than those which it began with are taken.

    Returns:
        The comparison, or the training that a signal has stopped.

    Raises:
        SpnasError: whatever is wrong, in one line, before the first training where that is possible.
        EvaluationError: a training failed.
    """
    monitor, cache = monitor or Silent(), cache or out / "cache"
    if latency_on is not None:
        latency_device(latency_on)
    numbers = tuple(range(settings[0].seed, settings[0].seed + seeds))
    validate(TrainSettings, {**settings[0].as_dict(), "seed": numbers[-1]})  # before the first one is trained
    places = range(len(settings))
    folders = {(place, seed): TrainFolder(out / f"{place + 1}-{seed}") for seed in numbers for place in places}
    with explained_writing(out):
        plan = _prepare(settings, out)
    is_finished = all(folder.scores.exists() for folder in folders.values())
    if not is_finished and not accept_versions:
        _check_versions(plan, out)
    data = None
    if not is_finished or plan.get(PLACE) != settings[0].data:
        data = _check_data(settings[0], out, cache, plan, monitor)
    metric = metric_factory(settings[0].metrics[0]).specs[0]
    scores: list[list[float]] = [[] for _ in settings]
    for seed in numbers:
        for place, one in enumerate(settings):
            folder = folders[place, seed]
            if not folder.scores.exists():
                monitor.message(f"{folder.path.name}: {one.architecture}, seed {seed}")
                result = _train(one.model_copy(update={"seed": seed}), folder, data, monitor)
                if result.stopped_by:
                    return result
            scores[place].append(read_scores(folder.path)[metric.name])
    if latency_on is None:
        latency_on, latencies = _known_latencies(settings, out)
    else:
        latencies = _latencies(settings, latency_on, monitor)
    compared = tuple(
        _compared(one, row, scores[0], latency) for one, row, latency in zip(settings, scores, latencies, strict=True)
    )
    split = scored_split(folders[0, numbers[0]].path)
    comparison = Comparison(metric.name, numbers, compared, split, latency_on, metric.higher_is_better)
    _write(out / RESULT, comparison.as_dict())
    return comparison


def begun_with(out: Path) -> dict[str, Any]:
    """Return the canvas and the detector of a comparison that goes on; nothing where there is none in the folder."""
    with explained_writing(out):
        if not (out / PLAN).exists():
            return {}
    plan, first = _read_plan(out / PLAN), "1.detector."
    detector = {key.removeprefix(first): value for key, value in plan.items() if key.startswith(first)}
    found = {"image_size": plan.get("1.image_size"), "detector": detector}
    return {key: value for key, value in found.items() if value}


def _known_latencies(settings: Sequence[TrainSettings], out: Path) -> tuple[str | None, Sequence[Latency | None]]:
    """Return the device and the latencies that were measured when the comparison was made before; none otherwise."""
    try:
        found = json.loads((out / RESULT).read_text(encoding="utf-8"))
        measured = [Latency(**row["latency"]) for row in found["architectures"]]
        device = str(found["latency_device"])
    except (OSError, *MALFORMED):  # or none was measured
        return None, [None] * len(settings)
    return (device, measured) if len(measured) == len(settings) else (None, [None] * len(settings))


def _latencies(settings: Sequence[TrainSettings], device: str, monitor: Monitor) -> Sequence[Latency]:
    """Measure the backbones on the canvas of the comparison."""
    monitor.message(f"measuring the latency of {len(settings)} backbones on {device}")
    networks = [read_network(one.architecture) for one in settings]
    return measure_latencies(networks, *settings[0].image_size, device=device)


def _compared(settings: TrainSettings, scores: list[float], first: list[float], latency: Latency | None) -> Compared:
    cost = backbone_cost(read_network(settings.architecture), *settings.image_size)
    difference = None
    if scores is not first:
        difference = mean_interval([here - there for here, there in zip(scores, first, strict=True)])
    return Compared(
        settings.architecture,
        cost.parameters,
        cost.multiply_adds,
        tuple(scores),
        mean_interval(scores),
        difference,
        latency,
    )


def _train(settings: TrainSettings, folder: TrainFolder, data: CachedData | None, monitor: Monitor) -> TrainingResult:
    if folder.left_without_settings:  # they are these
        folder.write_settings(settings)
    return train(settings, folder.path, resume=folder.config.exists(), monitor=monitor, data=data)


def _prepare(settings: Sequence[TrainSettings], out: Path) -> dict[str, Any]:
    """Refuse what cannot be trained or is of another comparison; then the folder is this comparison's.

    Returns:
        Its plan.
    """
    plan = _planned(settings)
    file = out / PLAN
    for one in settings:
        check_settings(one)
    if file.exists():
        before = _read_plan(file)
        _check_same_plan(_completed(before, settings), json.loads(to_json(plan)), out)
        return before
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty and holds no comparison: choose another --out")
    for one in settings:
        check_buildable(one)
    plan |= {PLACE: settings[0].data, CONTENT: "", VERSIONS: installed_versions()}
    out.mkdir(parents=True, exist_ok=True)
    _write(file, plan)
    return plan


def _check_same_plan(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    """Refuse settings that differ from those of the comparison that goes on."""
    then, today = ([plan[key] for key in plan if key.partition(".")[2] == "architecture"] for plan in (before, now))
    if then != today:
        raise ConfigError(
            f"the comparison in {out} is of {', '.join(map(str, then))}, not of {', '.join(map(str, today))}: name "
            "those to go on with it, or choose another --out"
        )
    # patience first: whether score_every is among the keys hangs on it
    for key in sorted([*now, *before], key=lambda one: not one.endswith(".patience")):
        is_fixed = key in now or key.partition(".")[2] not in {"", *_FREE}
        if is_fixed and before.get(key) != now.get(key):
            raise ConfigError(
                f"the comparison in {out} has {key} = {before.get(key)!r}, not {now.get(key)!r}: give its options "
                "again to go on with it, or choose another --out"
            )


def _check_versions(plan: Mapping[str, Any], out: Path) -> None:
    """Refuse to compare trainings that other versions of the packages have made with what these would make."""
    before = plan.get(VERSIONS) or {}
    if changed := changed_versions(before if isinstance(before, Mapping) else {}):
        raise ConfigError(
            f"the trainings in {out} were made with other packages ({'; '.join(changed)}): scores of both need not be "
            "comparable; install those versions, or go on with --accept-versions"
        )


def _check_data(
    settings: TrainSettings, out: Path, cache: Path, plan: Mapping[str, Any], monitor: Monitor
) -> CachedData:
    """Read the data before the first training; refuse other data than earlier ones had, and note where it lies."""
    data = prepare_data(settings, cache, monitor.reading)
    check_same_data(out, str(plan.get(CONTENT, "")), data.content, settings.data)
    noted = {PLACE: settings.data, CONTENT: data.content}
    if not noted.items() <= plan.items():
        _write(out / PLAN, {**plan, **noted})
    return data


def _read_plan(file: Path) -> dict[str, Any]:
    try:
        plan = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, *MALFORMED) as error:
        raise ConfigError(f"{file} cannot be read ({error}): choose another --out") from error
    if not isinstance(plan, dict):
        raise ConfigError(f"{file} holds no plan of a comparison: choose another --out")
    return plan


def _planned(settings: Sequence[TrainSettings]) -> dict[str, Any]:
    return {f"{place + 1}.{key}": value for place, one in enumerate(settings) for key, value in _fixed(one).items()}


def _completed(plan: Mapping[str, Any], settings: Sequence[TrainSettings]) -> dict[str, Any]:
    """Give the trainings of a plan the defaults of settings that there were not yet when it was made.

    What older plans do not hold, and is no setting of later versions, is as it is now: ``devices``, and what decides
    when a training ends.
    """
    planned = _planned(
        [
            TrainSettings(
                architecture=one.architecture,
                data=one.data,
                devices=one.devices,
                **({} if f"{place}.score_split" in plan else {name: getattr(one, name) for name in _DECIDE}),
            )
            for place, one in enumerate(settings, 1)
        ]
    )
    defaults = json.loads(to_json(planned))
    return {**{key: defaults[key] for key in defaults if f"{key.partition('.')[0]}.architecture" in plan}, **plan}


def _fixed(settings: TrainSettings) -> dict[str, object]:
    """Return, by key, what all trainings of one architecture have in common, from seed to seed.

    That is how long they are trained and on which images they are scored, and where batch norms may see the images of
    each device alone, the number of devices, too.
    """
    may_see_batches = settings.training.norm in {"batch", "frozen"}  # of these, what starts anew is batch norm
    free = _FREE - {"devices"} if may_see_batches else _FREE
    if settings.patience is None:
        free |= {"score_every"}
    return {key: value for key, value in flattened(settings.as_dict()).items() if key not in free}


def _write(file: Path, content: dict[str, Any]) -> None:
    write_durably(file, to_json(content, indent=2) + "\n")
