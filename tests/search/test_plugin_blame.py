"""An unexpected error out of a plugin's code is one line that names the plugin; one out of ours keeps its traceback."""

import pytest
from commands import done, invoke, refused

from spnas_core.plugins import blamed
from spnas_core.plugins.blame import TRACEBACK_VARIABLE
from spnas_detect.processes.launcher import attempt

NECK = """
    from spnas_core import hookimpl
    from spnas_detect.necks import FPN

    class Mine(FPN):
        def forward(self, features):
            levels = super().forward(features)
            if next(iter(levels.values())).device.type != "meta":
                levels["which"]
            return levels

    @hookimpl
    def spnas_register_necks(register):
        register("mine", Mine)
"""
COMMANDS = """
    import click

    from spnas_core import hookimpl
    from spnas_core.commands.lazy import LazyCommand

    @click.command()
    def fails():
        {}["which"]

    @click.command()
    def ends():
        raise click.ClickException("as it wants")

    @click.command()
    @click.pass_context
    def leaves(context):
        context.exit(7)

    @hookimpl
    def spnas_register_commands(register):
        register("fails", fails)
        register("ends", ends)
        register("leaves", leaves)
        register("lazy", LazyCommand("lazy", "a_module_that_is_not_there:command", "Is late."))
        register("wrong", LazyCommand("wrong", "json:dumps", "Is none."))
        register("broken", 3)
"""
TINY = (
    *("--data", "shapes", "--data-option", "train=4", "--data-option", "validation=2", "--data-option", "test=2"),
    *("--image-size", "64x64", "--epochs", 1, "--set", "device=cpu", "--set", "detector.neck_channels=8"),
)


def test_a_network_that_raises_in_training_is_named_with_its_line(install, tmp_path):
    install("ours", NECK)
    given = ("--set", "detector.neck=mine", "--out", tmp_path / "t")
    message = refused("train", "b@4_1-2-2", *TINY, *given)
    assert message.startswith("error: plugin 'ours' (spnas-ours) raised KeyError: 'which' in forward (")
    assert "fake_spnas_ours_ours.py, line 9): that is a fault of the plugin's" in message


def test_the_traceback_is_there_for_those_who_ask(install, monkeypatch):
    install("ours", COMMANDS)
    assert refused("fails").startswith("error: plugin 'ours' (spnas-ours) raised KeyError: 'which' in fails (")
    for asks, is_shown in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv(TRACEBACK_VARIABLE, asks)
        assert isinstance(invoke("fails").exception, KeyError) == is_shown


def test_how_a_command_of_a_plugin_means_to_end_is_its_own_matter(install):
    install("ours", COMMANDS)
    assert invoke("ends").output.splitlines()[-1] == "Error: as it wants"
    assert invoke("leaves").exit_code == 7


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lazy", "ModuleNotFoundError: No module named 'a_module_that_is_not_there' in importing a_module"),
        ("wrong", "TypeError: json:dumps is no click command but a function in importing json:dumps"),
    ],
)
def test_a_command_that_cannot_be_imported_names_its_plugin(install, name, reason):
    install("ours", COMMANDS)
    message = refused(name)
    assert message.startswith(f"error: command '{name}' of plugin 'ours' (spnas-ours) raised {reason}")


def test_lists_of_commands_leave_out_what_is_none(install):
    install("ours", COMMANDS)
    listed = done("--help")
    assert "Is late." in listed
    assert "broken" not in listed


def caught(call, *arguments):
    with pytest.raises(ArithmeticError) as error:
        call(*arguments)
    return error.value


def test_of_several_plugins_the_innermost_is_named_and_without_one_nobody_is(install):
    install("outer", "\n    def call(function, *arguments):\n        return function(*arguments)\n")
    install("inner", "\n    def divide(a, b):\n        return a / b\n")
    from fake_spnas_inner_inner import divide
    from fake_spnas_outer_outer import call

    assert str(blamed(caught(call, divide, 1, 0))).startswith("plugin 'inner' (spnas-inner) raised ZeroDivisionError")
    assert str(blamed(caught(call, lambda: 1 / 0))).startswith("plugin 'outer' (spnas-outer) raised ZeroDivisionError")
    assert blamed(caught(lambda: 1 / 0)) is None


def test_a_process_of_a_training_says_the_same(install):
    install("inner", "\n    def divide(a, b):\n        return a / b\n")
    from fake_spnas_inner_inner import divide

    outcome = attempt(divide, (1, 0))
    assert (outcome.ending, outcome.error) == ("refused", "PluginError")
    assert outcome.text.startswith("plugin 'inner' (spnas-inner) raised ZeroDivisionError: division by zero in divide")
    assert attempt(lambda: 1 / 0, ()).ending == "crashed"
