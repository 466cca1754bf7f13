"""The settings that a kind of study has of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from spnas_core.configuration import Table, validate
from spnas_core.errors import ConfigError
from spnas_core.tasks.protocols import Split


class OwnSettings(Table):
    """What a study trains and how it is scored; a kind of study adds its fields.

    Attributes:
        study: what the kind is called in messages.
        lasting: fields that a study keeps for good.
        split: images that everything is scored on.
    """

    study: ClassVar[str]
    lasting: ClassVar[tuple[str, ...]] = ("split",)

    split: Split = "validation"

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Validate what was chosen.

        Raises:
            ConfigError: what is wrong, and in which kind of study.
        """
        try:
            settings = validate(cls, values)
            settings.check()
        except ConfigError as error:
            raise ConfigError(f"{cls.study}: {error}") from None
        return settings

    def check(self) -> None:
        """Refuse fields that do not go together.

        Raises:
            ConfigError: what is wrong, and what to do.
        """

    def changed(self, chosen: Mapping[str, Any], folder: Path) -> Self:
        """Return these settings of the study in a folder with new values of some.

        Raises:
            ConfigError: a value is wrong, or would change what a study keeps for good.
        """
        new = self.read({**self.model_dump(), **chosen})
        for field in self.lasting:
            if getattr(new, field) != getattr(self, field):
                raise ConfigError(
                    f"the study in {folder} has {field} = {getattr(self, field)!r}, not {getattr(new, field)!r}: start "
                    "another one with --out elsewhere"
                )
        return new
