"""A folder in which the documentation's commands can be typed: what they name is there, and small."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from commands import done
from documents import ROOT, blocks
from voc_folder import write_voc

import spnas_search
from spnas_search.settings import resolve

TINY = {"neck_channels": 8, "head_channels": 16, "rpn_proposals": 20, "rpn_samples": 8, "box_samples": 8}
LINKS = {"PATH/TO/VOC": "voc", "PATH/TO/BCCD": "voc", "NEW/PLACE": "voc", "PATH/TO/COCO": "coco", "COCO": "coco"}
WEIGHTS = ("resnet50.pth", "resnext50_32x4d.pth", "fasterrcnn.pth")
FEW = {"train": 8, "validation": 4, "test": 4}
RUNS = ("mine", "serial", "first")
TRAININGS = ("street",)


class Begun(Exception):  # noqa: N818 - nothing is wrong
    """A command has come to where it would compute for long."""


@dataclass(frozen=True)
class Stock:
    """What commands of all pages begin with.

    Attributes:
        folder: has the data sets ``voc`` and ``coco``, a finished search ``run`` and a ``training``.
        child: the number of the search's child.
    """

    folder: Path
    child: int

    def lay_out(self, place: Path) -> None:
        """Give a fresh folder all that commands name and do not make."""
        path = place / "PATH"
        path.mkdir()
        for part in (self.folder / "voc").iterdir():
            (path / part.name).symlink_to(part)
        for link, target in LINKS.items():
            (place / link).parent.mkdir(exist_ok=True)
            (place / link).symlink_to(self.folder / target)
        shutil.copytree(self.folder / "voc" / "JPEGImages", place / "photos")
        (place / "examples").symlink_to(ROOT / "examples")
        for name in WEIGHTS:
            (place / name).touch()
        settings = [block.text for block in blocks("docs/levels.md") if block.language == "toml"]
        (place / "rcnn.toml").write_text(settings[0], encoding="utf-8")
        for name in RUNS:
            shutil.copytree(self.folder / "run", place / "runs" / name)
        for name in TRAININGS:
            shutil.copytree(self.folder / "training", place / "trainings" / name)
        (place / "street.jpg").symlink_to(next((self.folder / "voc" / "JPEGImages").iterdir()))

    def made_small(self, words: list[str]) -> list[str]:
        """Name the child that there is, take one process where several are shown, and few generated images."""
        few = [f"--data-option={split}={count}" for split, count in FEW.items()] if "convert" in words else []
        one = [word.replace("runs/mine:7", f"runs/mine:{self.child}") for word in words]
        return ["1" if before == "--devices" else word for before, word in zip(["", *one], one, strict=False)] + few

    def put(self, name: str, place: Path) -> None:
        """Put a finished search or training where a command would have made one."""
        if not place.exists():
            shutil.copytree(self.folder / name, place)


def fill_stock(folder: Path) -> Stock:
    """Make the data sets, a search and a training, each of seconds."""
    write_voc(folder / "voc", images=8)
    done("data", "convert", f"voc:{folder / 'voc'}", folder / "coco", "--to", "coco")
    task = {"name": "detection", "data": f"voc:{folder / 'voc'}", "image_size": [64, 64], "detector": TINY}
    with spnas_search.search(
        task={**task, "training": {"batch_size": 4}},
        start="b@8_1-1",
        warm_start_epochs=1,
        noise_seeds=2,
        strategy={"name": "serial", "epochs": 1, "round": 1},
        space={"min_blocks": 1, "min_stages": 1},
        executor={"name": "inline"},
        budget=1,
        final={"seeds": 0, "finalists": 0},
        out=folder / "run",
    ) as run:
        (child,) = run.archive.of_kind("child")
    done("train", folder / "run", "--epochs", "1", "--out", folder / "training")
    return Stock(folder, child.id)


def stop_at_work(stock: Stock, patch: pytest.MonkeyPatch) -> None:
    """Have commands that would compute for long check their settings, leave what they would have made, and stop."""

    def begin(name: str | None, settings: int, place: int | None) -> Callable[..., NoReturn]:
        def begun(*given: Any, **_: Any) -> NoReturn:
            if isinstance(given[settings], dict):
                resolve(given[settings])
            if name is not None and place is not None:
                stock.put(name, Path(given[place]))
            raise Begun

        return begun

    patch.setattr("spnas_search.cli.run.start_run", begin("run", 1, 0))
    patch.setattr("spnas_search.cli.run.start_series", begin(None, 1, None))
    patch.setattr("spnas_search.cli.plan.plan_search", begin(None, 0, None))
    patch.setattr("spnas_search.cli.studies.signal.start_signal_study", begin(None, 1, None))
    for name in ("searches", "spaces"):
        for begins in ("start", "resume"):
            patch.setattr(f"spnas_search.cli.studies.{name}.{begins}_{name}_study", begin(None, 1, None))
    patch.setattr("spnas_search.cli.extend.extend_budget", begin(None, 0, None))
    patch.setattr("spnas_detect.commands.train.train", begin("training", 0, 1))
    patch.setattr("spnas_detect.commands.compare.run_comparison", begin(None, 0, None))
    for part in ("exportable_backbone", "exportable_detector"):
        patch.setattr(f"spnas_detect.commands.export.{part}", begin(None, 0, None))
