"""The ``spnas`` command as a test types it, in this process."""

import json

from click.testing import CliRunner, Result

from spnas_search.cli.main import commands

INLINE = (
    *("--set", "executor.name=inline", "--set", "warm_start_epochs=2"),
    *("--set", "strategy.epochs=1", "--set", "noise_seeds=2"),
)
NULL = ("--set", "task.name=null", *INLINE)
"""A search of milliseconds in this process."""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line of a refusal."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    errors = [line for line in result.output.splitlines() if line.lower().startswith("error: ")]
    assert len(errors) == 1, result.output
    return errors[0]


def done(*arguments: object) -> str:
    """What a command that succeeds has printed."""
    result = invoke(*arguments)
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    assert result.exception is None
    return result.output


def rows(out: object) -> list[dict]:
    """What ``spnas candidates --json`` says, which must be JSON to the letter."""

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=no_constant) for line in done("candidates", out, "--json").splitlines()]


def budget(count: int, finals: int = 1) -> tuple[str, ...]:
    """Arguments for so many children and seeds of the final comparison."""
    return ("--set", f"budget.candidates={count}", "--set", f"final.seeds={finals}")
