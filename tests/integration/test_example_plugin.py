"""The example plugin works as an installed one: its block can be shown, its strategy searches."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin" / "src"

SPNAS = "from spnas_search.cli import main; main()"
PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.fixture
def spnas(tmp_path):
    """Run the command where the example is installed: its code and its entry point are on the path."""
    metadata = tmp_path / "installed" / "spnas_example_plugin-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: spnas-example-plugin\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[spnas]\nexample = spnas_example\n")
    path = os.pathsep.join([str(metadata.parent), str(EXAMPLE), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*arguments: str, code: str = SPNAS, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


def test_the_plugins_block_and_strategy_are_used_and_listed(spnas, tmp_path):
    assert "1.92 M parameters" in spnas("show", "w@16_11-21-21-21").stdout.replace("\n", " ")
    out = str(tmp_path / "run")
    null = ["--set", "task.name=null", "--set", "executor.name=inline", "--set", "budget.candidates=4"]
    result = spnas("run", "climb", *null, "--start", "w@8_11-21-21-21", "--out", out)
    assert result.returncode == 0, result.stderr
    assert "climb search from w@8_11-21-21-21" in result.stdout
    assert "spnas-example-plugin" in spnas("plugins").stdout


def test_the_plugins_preset_is_listed_and_begins_a_search(spnas, tmp_path):
    assert "climb from a network of 5x5 kernels" in " ".join(spnas("presets").stdout.replace("│", " ").split())
    null = ["--set", "task.name=null", "--set", "executor.name=inline", "--set", "budget.candidates=2"]
    result = spnas("run", "--preset", "wide-climb", *null, "--out", str(tmp_path / "run"))
    assert result.returncode == 0, result.stderr
    assert "climb search from w@8_11-21-21-21" in result.stdout
    saved = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert saved["strategy"] == {"name": "climb", "round": 2, "epochs": 3, "max_redraws": 200}
    metadata = tomllib.loads((EXAMPLE.parent / "pyproject.toml").read_text())
    assert metadata["tool"]["setuptools"]["package-data"]["spnas_example"] == ["presets/*.toml"]


def test_disabling_plugins_leaves_the_built_in_ones(spnas):
    result = spnas("show", "w@16_11-21-21-21", SPNAS_DISABLE_PLUGINS="1")
    assert result.returncode == 2
    assert result.stderr.startswith("error: no block type is called 'w'")


def test_the_plugin_keeps_the_contracts(spnas, tmp_path):
    tests = EXAMPLE.parent / "tests"
    result = spnas("-q", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests), code=PYTEST)
    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout
