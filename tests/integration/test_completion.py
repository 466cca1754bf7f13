"""Completion in the shell: the script of docs/howto/completion.md is produced, and completes."""

import os
import shutil
import subprocess
import sys

import pytest
from documents import read

SHELLS = ("bash", "zsh", "fish")
COMPLETE = {
    "bash": 'eval "$(_SPNAS_COMPLETE=bash_source spnas)"\n'
    "COMP_WORDS=({words}); COMP_CWORD={at}; _spnas_completion spnas; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    "fish": "_SPNAS_COMPLETE=fish_source spnas | source\ncomplete --do-complete '{words}'",
}


@pytest.fixture
def environment(tmp_path):
    """Has the command on its path, whatever is installed there."""
    program = tmp_path / "spnas"
    program.write_text(f"#!{sys.executable}\nfrom spnas_search.cli.main import main\nmain()\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def output(arguments, environment):
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_that_the_page_names_is_produced(shell, environment):
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("there is no bash, whose version the script depends on")
    variable = f"_SPNAS_COMPLETE={shell}_source"
    assert f"{variable} spnas" in read("docs/howto/completion.md")
    script = output(["env", variable, "spnas"], environment)
    assert f"_SPNAS_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize("shell", COMPLETE)
@pytest.mark.parametrize(("words", "found"), [("spnas can", "candidates"), ("spnas candidates --pa", "--pareto")])
def test_a_shell_completes(shell, words, found, environment):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    script = COMPLETE[shell].format(words=words, at=len(words.split()) - 1)
    lines = output([shell, "-c", script], environment).split()
    assert [line for line in lines if line.startswith(words.split()[-1])] == [found]
