"""Rooms of the house open in one direction: what imports what among the packages, read from the source."""

import ast
from pathlib import Path

import pytest

import spnas_core
import spnas_detect
import spnas_search

ROOTS = {package.__name__: Path(package.__file__).parent for package in (spnas_core, spnas_detect, spnas_search)}


def imported(file: Path) -> set[str]:
    """Dotted names of what a file imports from our packages, inside functions, too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
    return {name for name in names if name.partition(".")[0] in ROOTS}


@pytest.mark.parametrize(
    ("package", "below"),
    [("spnas_core", set()), ("spnas_detect", {"spnas_core"}), ("spnas_search", {"spnas_core"})],
)
def test_packages_import_what_is_below_them(package, below):
    found = {(file.name, name) for file in ROOTS[package].rglob("*.py") for name in imported(file)}
    assert {(file, name) for file, name in found if name.partition(".")[0] not in below | {package}} == set()
    assert len(found) > 100


def test_subpackages_of_the_search_do_not_import_each_other_in_circles():
    root = ROOTS["spnas_search"]
    parts = {place.stem for place in root.iterdir() if place.suffix == ".py" or (place / "__init__.py").exists()}
    needs = {part: set() for part in parts - {"__init__"}}
    for file in root.rglob("*.py"):
        part = file.relative_to(root).parts[0].removesuffix(".py")
        if part in needs:
            needs[part] |= {name.split(".")[1] for name in imported(file) if name.count(".")} & needs.keys() - {part}
    while free := {part for part, needed in needs.items() if not needed}:
        needs = {part: needed - free for part, needed in needs.items() if part not in free}
    assert needs == {}, "these import each other"


def test_homes_are_found_in_one_place():
    """``Path.expanduser`` raises where there is no such user: ``spnas_core.paths.found_at`` does not."""
    for root in ROOTS.values():
        assert [file for file in root.rglob("*.py") if ".expanduser()" in file.read_text()] == []
