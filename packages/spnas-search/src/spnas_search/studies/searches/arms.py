"""The ways to search that a study compares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spnas_core.configuration import validate
from spnas_core.errors import ConfigError
from spnas_core.presets import laid_over
from spnas_search.run.identity import differences
from spnas_search.settings import RunSettings, read_toml, resolve, strategy_name, strategy_part

RANDOM = "random"
"""The strategy that every study has: whoever does not beat it has found nothing."""

OF_THE_STUDY = ("seed", "start", "init", "space", "task", "objective", "budget", "executor")
"""What all searches of a study share; an arm cannot set it."""

NO_VERDICT = {"seeds": 0, "from_scratch": False, "train_epochs": 0, "train_fresh": False}
"""The end of an arm's searches: the study's own trainings judge what they have found."""


@dataclass(frozen=True)
class SearchArm:
    """A way to search.

    Attributes:
        name: the strategy's, or that of the file with its settings.
        values: configuration of its searches, plain values of ``run.toml``, all of them, so that later searches of a
            study are as its first, whatever the defaults are by then; the seed is the study's.
    """

    name: str
    values: Mapping[str, Any]


def read_arms(texts: Sequence[str], base: Mapping[str, Any], known: Sequence[SearchArm] = ()) -> tuple[SearchArm, ...]:
    """Return the arms that texts name, and random sampling, which is always among them, in front.

    Args:
        texts: names of strategies, or TOML files with tables of ``run.toml`` such as ``[strategy]`` or ``ranking``; a
            file's name without its ending is the arm's.
        base: the study's configuration. Of its ``[strategy]`` an arm with another strategy takes what means the same to
            all, so that rounds and children's epochs are alike; a table of its own wins.
        known: arms that the study has already; they are not returned.

    Raises:
        ConfigError: a file sets what all searches share, or a wrong key; two arms have one name; an arm that the study
            has already has other settings now.
        PluginError: no strategy has the name.
    """
    arms = [_arm(text, base) for text in texts]
    if not any(map(_is_random, (*known, *arms))):
        arms.insert(0, _arm(RANDOM, base))
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two ways to search are called {name!r}: name each once, and give files other names")
    begun = {arm.name: arm for arm in known}
    for arm in arms:
        if arm.name in begun:
            _check_same(begun[arm.name], arm)
    return tuple(arm for arm in arms if arm.name not in begun)


def _check_same(begun: SearchArm, now: SearchArm) -> None:
    for key, before, after in differences(begun.values, now.values):
        if before is not None and after is not None and key.partition(".")[0] not in OF_THE_STUDY:
            raise ConfigError(
                f"the study's searches {begun.name!r} have {key} = {before!r}, not {after!r}: leave the name out to go "
                "on with them, or give a file with other settings another name"
            )


def random_beside(arms: Sequence[SearchArm]) -> dict[str, tuple[str, ...]]:
    """Return the random searches that each arm is measured by: those that inherit as it does, else all of them.

    Args:
        arms: of a study. A random one is measured by none.
    """
    random = [arm for arm in arms if _is_random(arm)]
    found = {}
    for arm in arms:
        alike = [one.name for one in random if _inherit(one) == _inherit(arm)]
        found[arm.name] = () if _is_random(arm) else tuple(alike or [one.name for one in random])
    return found


def no_baselines(arms: Sequence[SearchArm]) -> tuple[str, ...]:
    """Say of random searches that they do not sample at random, where a screen chooses: a line each."""
    named = ((arm.name, arm.values["screen"]) for arm in arms if _is_random(arm))
    return tuple(
        f'warning: {name} has the screen {screen["name"]!r}, and so does not sample at random: screen = "own" gives '
        "each strategy its own, and random none"
        for name, screen in named
        if screen != "none"
    )


def _is_random(arm: SearchArm) -> bool:
    return bool(arm.values.get("strategy", {}).get("name") == RANDOM)


def _inherit(arm: SearchArm) -> str:
    return str(arm.values.get("inherit", "parent"))


def _arm(text: str, base: Mapping[str, Any]) -> SearchArm:
    is_file = text.endswith(".toml")
    own = read_toml(Path(text)) if is_file else {"strategy": {"name": text}}
    name = Path(text).stem if is_file else text
    if name in {".", ".."}:
        raise ConfigError(f"{text!r} gives its searches no name that a folder can have: give the file another one")
    for key in OF_THE_STUDY:
        if key in own:
            raise ConfigError(f"{text} sets {key!r}, which all searches of a study share: give it to the study itself")
    try:
        validate(RunSettings, own, "")  # tables are tables
        values = resolve(_laid_over(base, own)).settled().as_dict()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    return SearchArm(name, values)


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Lay an arm's settings over the study's; no verdict, since the study's own trainings judge."""
    known = strategy_name(base)
    wanted = strategy_name(own, known)
    if wanted != known:
        base = {**base, "strategy": strategy_part(base.get("strategy", {}), wanted)}
    return laid_over(laid_over(base, own), {"final": NO_VERDICT, "strategy": {"name": wanted}})
